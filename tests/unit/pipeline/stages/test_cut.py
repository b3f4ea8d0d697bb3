from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pipeline_parts import context_after, stage_at
from spiritsafe.pipeline.recipe.students import CutRecipe, StudentRecipe
from spiritsafe.pipeline.stages.traces import student_traces

from spiritsafe.core.errors import BudgetError
from spiritsafe.core.events import NullSink
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models import load_model, measure_bytes, predict_footprint, read_cut_plan
from spiritsafe.pipeline.recipe.graph import nodes_of
from spiritsafe.pipeline.stages.cut import byte_budget, cut_stage, make_cut
from spiritsafe.pipeline.stages.training import documents_of


def test_students_with_the_same_cut_share_a_stage(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path, student={"repeat": 2})
    first = context.recipe.students[0]
    other = first.model_copy(update={"name": "other", "repeat": 1, "objective": "jsd", "start": "random"})
    deeper = first.model_copy(update={"name": "deeper", "repeat": 1, "share": 0.9})
    nodes = nodes_of((first, other, deeper), ())
    assert [(node.name, cut_stage(node.recipe, nodes)) for node in nodes] == [
        ("student-1", "cut-student"),
        ("student-2", "cut-student"),
        ("other", "cut-student"),
        ("deeper", "cut-deeper"),
    ]
    raced = first.model_copy(update={"shape": "race"})
    slower = raced.model_copy(update={"name": "slower", "train": raced.train.model_copy(update={"learning_rate": 1.0})})
    assert cut_stage(slower, nodes_of((raced, slower), ())) == "cut-slower"


def test_students_of_other_teachers_have_cuts_of_their_own(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path, student={"teacher": "rl", "repeat": 2})
    taught = context.recipe.students[0].model_copy(update={"name": "taught", "teacher": "teacher"})
    steps = (context.recipe.steps[0].model_copy(update={"repeat": 2, "controls": ()}),)
    nodes = nodes_of((context.recipe.students[0], taught), steps)
    cuts = {node.name: cut_stage(node.recipe, nodes) for node in nodes if isinstance(node.recipe, StudentRecipe)}
    assert cuts == {
        "student-1": "cut-student-1",
        "student-2": "cut-student-2",
        "taught-1": "cut-taught",
        "taught-2": "cut-taught",
    }


def test_the_budget_counts_weights_and_cache(tiny_run: Path) -> None:
    config = read_json(next(tiny_run.glob("stages/*-teach/model/config.json")))
    whole = predict_footprint(config, "q8_0", context=100).total_bytes
    assert byte_budget(CutRecipe(share=0.5, quantisation="q8_0", context=100), config) == whole // 2
    assert byte_budget(CutRecipe(max_bytes=123), config) == 123


def test_a_race_keeps_the_shape_that_heals_best(tiny_run: Path, tmp_path: Path) -> None:
    changes = {"share": 0.8, "shape": "race", "candidates": 3, "race_steps": 2}
    context = context_after(tiny_run, tmp_path, student=changes)
    stage = stage_at(tmp_path / "01-cut-student")
    report = make_cut(context.recipe.students[0], context, stage, NullSink())["cut"]
    ranking = report["ranking"]
    assert len(ranking) >= 2
    assert [row["after"]["kl"] for row in ranking] == sorted(row["after"]["kl"] for row in ranking)
    config = read_json(stage.path / "model" / "config.json")
    best = ranking[0]["shape"]
    assert config["hidden_size"] == best["hidden_size"]
    assert config["num_hidden_layers"] == best["num_layers"]
    whole = measure_bytes(next(tiny_run.glob("stages/*-teach/model")))
    assert measure_bytes(stage.path / "model") <= 0.8 * whole
    before = (stage.path / "model" / "model.safetensors").read_bytes()
    again = stage_at(tmp_path / "01-cut-student")
    assert make_cut(context.recipe.students[0], context, again, NullSink())["cut"] == report
    assert (stage.path / "model" / "model.safetensors").read_bytes() == before


def test_a_seen_vocabulary_holds_what_the_documents_use(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path, student={"share": 0.85, "vocabulary": "seen"})
    stage = stage_at(tmp_path / "01-cut-student")
    make_cut(context.recipe.students[0], context, stage, NullSink())
    plan = read_cut_plan(stage.path / "model")
    assert plan is not None
    assert plan.kept_ids is not None
    assert read_json(stage.path / "model" / "config.json")["vocab_size"] == len(plan.kept_ids)
    teacher = load_model(next(tiny_run.glob("stages/*-teach/model")), dtype=torch.float32, device="cpu")
    traces = student_traces(context, ("worked",), 100)
    used = {token for document in documents_of(teacher, traces) for token in document.token_ids}
    assert used <= set(plan.kept_ids)


def test_a_budget_below_everything_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path, student={"share": None, "max_bytes": 1000})
    with pytest.raises(BudgetError):
        make_cut(context.recipe.students[0], context, stage_at(tmp_path / "01-cut-student"), NullSink())
