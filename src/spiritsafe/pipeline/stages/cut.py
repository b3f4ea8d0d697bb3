"""Stages that cut: a smaller model out of a larger one, within a byte budget.

Calibrated on answers that are there to learn from: train bucket only. Leaves ``model`` with ``cut.json`` beside its
weights, which says what it is made of, and ``report.json``.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import numpy as np
import torch

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import ensure_directory, read_json, write_json
from spiritsafe.distil import DistilObjective, LiveTeacher, LossMix, race
from spiritsafe.models import (
    CUT_PLAN,
    DECODER_NAMES,
    Decoder,
    Document,
    Importance,
    LoadedModel,
    StudentShape,
    calibrate,
    candidates,
    choose_layers,
    choose_vocabulary,
    cut,
    layers_within,
    predict_footprint,
    randomise,
    resized,
    saved_dtype,
)
from spiritsafe.pipeline.context import RunContext, Traces, in_vocabulary
from spiritsafe.pipeline.plan.memory import Beside
from spiritsafe.pipeline.recipe.cut import CutRecipe, CutSettings
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.checks import fit_race
from spiritsafe.pipeline.stages.sets import chosen_traces
from spiritsafe.pipeline.stages.source import load_learner
from spiritsafe.pipeline.stages.training import documents_of
from spiritsafe.training import TrainConfig, document_arrays, document_lengths


def byte_budget(settings: CutSettings, config: dict[str, JSON]) -> int:
    """Most bytes of weights and cache that a cut may have, given the whole model's ``config.json``."""
    if settings.max_bytes is not None:
        return settings.max_bytes
    whole = predict_footprint(config, settings.quantisation, context=settings.context)
    return int((settings.share or 1.0) * whole.total_bytes)


def make_cut(recipe: CutRecipe, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Score the model's parts once, choose a shape within the budget, write the smaller model.

    Raises:
        BudgetError: Nothing fits.
        CompatibilityError: The model is not of the Decoder's family.
    """
    teacher = load_learner(context, recipe.origin)
    if not isinstance(teacher.model, Decoder):
        raise CompatibilityError(
            f"{teacher.checkpoint.name} is not of the Decoder's family, so nothing can be cut from it.",
            hint=f"Take a dense {DECODER_NAMES} model as source.",
        )
    traces = Traces.joined(list(chosen_traces(context, recipe.calibrate).values())).shuffled(context.seed("mix"))
    if not traces:
        raise RecipeError(
            f"There is nothing to calibrate {recipe.name} on: {', '.join(recipe.calibrate)} hold no answers.",
            hint="Name data with solutions, or a set of answers.",
        )
    kept = stage.path / "candidates" / "documents.bin"
    documents = documents_of(teacher, in_vocabulary(traces, teacher.chat.vocab_fingerprint), kept)
    held_out = max(1, min(len(documents) // 4, recipe.calibration)) if recipe.shape == "race" else 0
    calibration = documents[held_out:][: recipe.calibration]
    importance = _importance(stage, teacher.model, calibration, events)
    kept_ids = _kept_ids(teacher, documents) if recipe.vocabulary == "seen" else None
    config = dict(read_json(teacher.directory / "config.json"))
    if recipe.shape == "depth":
        report = _cut_depth(recipe, context, stage, teacher, importance, config, calibration, kept_ids, events)
    else:
        report = _race(recipe, context, stage, teacher, importance, config, documents, held_out, kept_ids, events)
    kept.unlink(missing_ok=True)
    if recipe.start == "random":
        _draw_weights(recipe, context, stage)
    write_json(stage.path / "report.json", report)
    shape = StudentShape.of(read_json(stage.path / "model" / "config.json"))
    return {"cut": report, "summary": _described(shape)}


def _draw_weights(recipe: CutRecipe, context: RunContext, stage: StageDirectory) -> None:
    """Put random weights in the place of those that were kept."""
    target = stage.path / "start"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copyfile(stage.path / "model" / CUT_PLAN, stage.path / CUT_PLAN)  # what its vocabulary is a part of
    seed = context.seed("random weights", recipe.name)
    randomise(stage.path / "model", target, seed, name=f"{context.recipe.name}-{recipe.name}", recipe=context.run.hash)
    shutil.rmtree(stage.path / "model")
    target.rename(stage.path / "model")


def _importance(
    stage: StageDirectory, model: Decoder, calibration: Sequence[Document], events: EventSink
) -> Importance:
    """The calibration pass, made once: a resumed race goes on with the scores that it began with."""
    path = ensure_directory(stage.path / "candidates") / "importance.npz"
    if not path.is_file():
        calibrate(model, calibration, events=events).save(path)
    return Importance.load(path)


def _described(shape: StudentShape) -> str:
    return (
        f"{shape.num_layers} layers, {shape.hidden_size} channels, {shape.intermediate_size} neurons, "
        f"{shape.num_kv_heads} key-value heads, {shape.vocab_size:,} tokens"
    )


def _kept_ids(teacher: LoadedModel, documents: Sequence[Document]) -> tuple[int, ...]:
    counts = np.zeros(teacher.model.vocab_size, dtype=np.int64)
    for ids, *_ in document_arrays(documents):
        np.add.at(counts, ids, 1)
    return choose_vocabulary(teacher.directory, counts.tolist())


def _whole_shape(config: dict[str, JSON], kept_ids: Sequence[int] | None) -> StudentShape:
    shape = StudentShape.of(config)
    return shape if kept_ids is None else shape.model_copy(update={"vocab_size": len(kept_ids)})


def _cut_depth(
    recipe: CutRecipe,
    context: RunContext,
    stage: StageDirectory,
    teacher: LoadedModel,
    importance: Importance,
    config: dict[str, JSON],
    calibration: Sequence[Document],
    kept_ids: Sequence[int] | None,
    events: EventSink,
) -> dict[str, JSON]:
    whole = _whole_shape(config, kept_ids)
    num_keep = layers_within(
        resized(config, whole), byte_budget(recipe, config), recipe.quantisation, context=recipe.context
    )
    decoder = _decoder(teacher)
    plan = choose_layers(decoder, calibration, num_keep, criterion=recipe.criterion, events=events)
    cut(
        teacher.directory,
        stage.path / "model",
        whole.model_copy(update={"num_layers": num_keep}),
        importance,
        name=stage.name,
        layers=plan.keep,
        kept_ids=kept_ids,
        recipe=context.run.hash,
        dtype=_dtype(recipe),
    )
    return {
        "shape": "depth",
        "keep": list(plan.keep),
        "removed": list(plan.removed),
        "loss_before": plan.loss_before,
        "loss_after": plan.loss_after,
    }


def _dtype(recipe: CutRecipe) -> torch.dtype | None:
    """None: each tensor as the whole model's, so that what is kept whole is a copy."""
    return None if recipe.save_dtype == "auto" else saved_dtype(recipe.save_dtype, {})


def _decoder(teacher: LoadedModel) -> Decoder:
    if not isinstance(teacher.model, Decoder):
        raise TypeError("make_cut has checked that the teacher is a Decoder")
    return teacher.model


def _race(
    recipe: CutRecipe,
    context: RunContext,
    stage: StageDirectory,
    teacher: LoadedModel,
    importance: Importance,
    config: dict[str, JSON],
    documents: Sequence[Document],
    held_out: int,
    kept_ids: Sequence[int] | None,
    events: EventSink,
) -> dict[str, JSON]:
    shapes = candidates(
        resized(config, _whole_shape(config, kept_ids)),
        byte_budget(recipe, config),
        quantisation=recipe.quantisation,
        context=recipe.context,
        cut_kv_heads=recipe.cut_kv_heads,
        num_candidates=recipe.candidates,
    )
    decoder, folder = _decoder(teacher), stage.path / "candidates"
    students = {f"shape-{number}": folder / f"shape-{number}" for number in range(1, len(shapes) + 1)}
    calibration, kept_layers = documents[held_out:][: recipe.calibration], dict[int, tuple[int, ...]]()
    for (name, directory), shape in zip(students.items(), shapes, strict=True):
        if not directory.exists():
            if shape.num_layers not in kept_layers:
                plan = choose_layers(decoder, calibration, shape.num_layers, criterion=recipe.criterion, events=events)
                kept_layers[shape.num_layers] = plan.keep
            layers = kept_layers[shape.num_layers]
            cut(
                teacher.directory,
                directory,
                shape,
                importance,
                name=name,
                layers=layers,
                kept_ids=kept_ids,
                recipe=context.run.hash,
                dtype=_dtype(recipe),
            )
    race_config = fit_race(
        list(students.values()),
        documents,
        _race_config(recipe, context, stage, teacher.num_active, int(document_lengths(documents).sum())),
        device=context.device,
        beside=Beside(teacher=config),
    )
    ranking = race(
        students,
        decoder,
        documents[held_out:],
        documents[:held_out],
        race_config,
        lambda speaker: DistilObjective(LiveTeacher(speaker), LossMix(forward_kl=1.0), same_tokenizer=True),
        directory=stage.path / "race",
        events=events,
    )
    shutil.copytree(students[ranking[0].name], stage.path / "model", dirs_exist_ok=True)
    rows: list[JSON] = [
        {"shape": shapes[int(row.name.removeprefix("shape-")) - 1].to_json(), **row.to_json(), "seconds": None}
        for row in ranking
    ]
    return {"shape": "race", "ranking": rows}


def _race_config(
    recipe: CutRecipe, context: RunContext, stage: StageDirectory, num_parameters: int, num_tokens: int
) -> TrainConfig:
    """How the step trains, for a few steps."""
    train = recipe.train.config(num_parameters, epoch_tokens=num_tokens, max_steps=recipe.race_steps)
    limits = {"max_epochs": None, "max_tokens": None, "eval_every": None}
    return train.model_copy(update={**limits, "seed": context.seed("race", stage.name)})
