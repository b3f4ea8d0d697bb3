"""Stages that quantise: a model becomes one GGUF file, which may have learnt to be that file first.

In: a model of the run. Out: ``model``, which holds the file and its ``lineage.json`` alone; where it learnt, the curve
and the audit of a distillation beside it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import final

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import ensure_directory
from spiritsafe.models import (
    FILE_TYPES,
    FileFacts,
    FileTypeName,
    ImportanceMatrix,
    measure_importance,
    new_directory,
    quantise_file,
    true_name,
    write_file_lineage,
    write_gguf,
)
from spiritsafe.pipeline.context import RunContext, Traces, in_vocabulary
from spiritsafe.pipeline.plan.lineage import parents_of
from spiritsafe.pipeline.recipe.distil import DistilRecipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.distil.stage import save_student, train_student, training_facts
from spiritsafe.pipeline.stages.measuring.files import measure_file
from spiritsafe.pipeline.stages.sets import chosen_traces
from spiritsafe.pipeline.stages.source import lineage_of, load_learner, model_directory
from spiritsafe.pipeline.stages.training import discard_training, make_documents, within_context

MASTER = "trained"
"""The float32 weights behind a file that learnt, until it is written."""
WHOLE = "whole"
"""The unquantised file that llama.cpp's quantiser reads."""


@final
@dataclass(frozen=True, kw_only=True)
class Rounding:
    """Into what a model is rounded, and by what.

    Attributes:
        to: File type.
        calibrate: Sets whose texts tell which columns matter; none: every column counts the same.
        calibration: Documents of them.
    """

    to: FileTypeName
    calibrate: tuple[str, ...]
    calibration: int


def quantise_model(
    name: str,
    origin: str,
    rounding: Rounding,
    learning: DistilRecipe | None,
    context: RunContext,
    stage: StageDirectory,
    events: EventSink,
) -> dict[str, JSON]:
    """Write the file model: 1. what is learnt on its grid, 2. the file, 3. its lineage, 4. what it is beside its model.

    Args:
        name: Of the file model.
        origin: The model that is stored.
        learning: How it learns first; None: nothing does.

    Raises:
        CompatibilityError: GGUF cannot hold such a model, the file is not the model, or llama.cpp's quantiser is
            needed and not there.
        BudgetError: The training does not fit into this machine's memory.
    """
    directory, stored = model_directory(context, origin), lineage_of(context, origin)
    parents = parents_of([(stored, ("weights",))])
    title, learnt = f"{context.recipe.name}-{name}", dict[str, JSON]()
    if learning is not None:  # 1.
        parts, result = train_student(learning, context, stage, events)
        if not stage.is_main:
            return {}
        directory = stage.path / MASTER
        stored = save_student(learning, context, stage, parts, directory)
        parents = stored.parents
        learnt = training_facts(learning, stage, parts, result)
    with new_directory(stage.path / "model") as temporary:
        unnamed = temporary / "model.gguf"
        if FILE_TYPES[rounding.to].is_written_here and not rounding.calibrate:  # 2.
            facts = write_gguf(directory, unnamed, rounding.to, name=title, lineage=stored)
        else:
            whole = ensure_directory(stage.path / WHOLE) / "whole.gguf"
            write_gguf(directory, whole, "f32", name=title, lineage=stored)
            importance = _importance(name, origin, rounding, context, events) if rounding.calibrate else None
            facts = quantise_file(whole, unnamed, rounding.to, importance=importance)
        file = unnamed.rename(temporary / true_name(facts, title))
        checkpoint = write_file_lineage(  # 3.
            temporary, name=title, license=stored.license, parents=parents, recipe=context.run.hash
        )
    measure_file(context, stage, origin, stage.path / "model" / file.name, events)  # 4.
    discard_training(stage)
    for scratch in (MASTER, WHOLE):
        shutil.rmtree(stage.path / scratch, ignore_errors=True)
    return {
        "digest": checkpoint.digest,
        "file": file.name,
        "file_facts": facts.to_json(),
        **learnt,
        "summary": facts_words(facts),
    }


def facts_words(facts: FileFacts) -> str:
    """What a file really holds, in a line."""
    stored = ", ".join(f"{one.num_tensors} {one.type.upper()}" for one in facts.types)
    return f"{facts.file_bytes / 1e6:,.1f} MB, {facts.bits_per_weight:.2f} bits a weight ({stored})"


def _importance(name: str, origin: str, rounding: Rounding, context: RunContext, events: EventSink) -> ImportanceMatrix:
    """Measured on documents of the sets, as many of each as there are of the smallest.

    Raises:
        RecipeError: There is none.
    """
    loaded = load_learner(context, origin)
    sets = within_context(
        loaded.chat, loaded.model.max_context, chosen_traces(context, rounding.calibrate), events, name=name
    )
    share = -(-rounding.calibration // len(sets))
    traces = Traces.joined([traces[:share] for traces in sets.values()])
    documents = list(make_documents(loaded.chat, in_vocabulary(traces, loaded.chat.vocab_fingerprint)))
    if not documents:
        raise RecipeError(
            f"There is no text to calibrate {name} on: {', '.join(sets)} hold none that {origin} can read.",
            hint="Name sets with solutions, or let a model that samples write some.",
        )
    return measure_importance(loaded.model, documents, events=events)
