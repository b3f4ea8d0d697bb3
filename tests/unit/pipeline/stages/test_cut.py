from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pipeline_parts import context_after, stage_at
from safetensors.torch import load_file

from spiritsafe.core.errors import BudgetError
from spiritsafe.core.events import NullSink
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models import load_model, measure_bytes, predict_footprint, read_cut_plan
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.cut import CutRecipe, CutSettings
from spiritsafe.pipeline.stages.cut import byte_budget, make_cut
from spiritsafe.pipeline.stages.sets import set_traces
from spiritsafe.pipeline.stages.training import documents_of


def cut_of(context: RunContext, name: str = "small") -> CutRecipe:
    recipe = context.recipe.node(name).recipe
    assert isinstance(recipe, CutRecipe)
    return recipe


def test_the_budget_counts_weights_and_cache(tiny_run: Path) -> None:
    config = read_json(next(tiny_run.glob("stages/*-teacher/model/config.json")))
    whole = predict_footprint(config, "q8_0", context=100).total_bytes
    assert byte_budget(CutSettings(share=0.5, quantisation="q8_0", context=100), config) == whole // 2
    assert byte_budget(CutSettings(max_bytes=123), config) == 123


def test_a_race_keeps_the_shape_that_heals_best(tiny_run: Path, tmp_path: Path) -> None:
    changes = {"share": 0.8, "shape": "race", "candidates": 3, "race_steps": 2}
    context = context_after(tiny_run, tmp_path, small=changes)
    stage = stage_at(tmp_path / "20-small")
    report = make_cut(cut_of(context), context, stage, NullSink())["cut"]
    ranking = report["ranking"]  # type: ignore[call-overload,index]
    assert len(ranking) >= 2  # type: ignore[arg-type]
    assert [row["after"]["kl"] for row in ranking] == sorted(row["after"]["kl"] for row in ranking)  # type: ignore[call-overload,index,union-attr]
    config = read_json(stage.path / "model" / "config.json")
    best = ranking[0]["shape"]  # type: ignore[call-overload,index]
    assert config["hidden_size"] == best["hidden_size"]  # type: ignore[call-overload,index]
    assert config["num_hidden_layers"] == best["num_layers"]  # type: ignore[call-overload,index]
    whole = measure_bytes(next(tiny_run.glob("stages/*-teacher/model")))
    assert measure_bytes(stage.path / "model") <= 0.8 * whole
    before = (stage.path / "model" / "model.safetensors").read_bytes()
    again = stage_at(tmp_path / "20-small")
    assert make_cut(cut_of(context), context, again, NullSink())["cut"] == report
    assert (stage.path / "model" / "model.safetensors").read_bytes() == before


def test_a_seen_vocabulary_holds_what_the_documents_use(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path, small={"vocabulary": "seen", "calibrate": ["review"]})
    stage = stage_at(tmp_path / "20-small")
    make_cut(cut_of(context), context, stage, NullSink())
    plan = read_cut_plan(stage.path / "model")
    assert plan is not None
    assert plan.kept_ids is not None
    assert read_json(stage.path / "model" / "config.json")["vocab_size"] == len(plan.kept_ids)
    teacher = load_model(next(tiny_run.glob("stages/*-teacher/model")), dtype=torch.float32, device="cpu")
    used = {t for document in documents_of(teacher, set_traces(context, "review")) for t in document.token_ids}
    assert used <= set(plan.kept_ids)


def test_random_weights_have_the_shape_of_the_cut_and_seeds_of_their_own(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path, small={"start": "random", "repeat": 2}, student={"from": "small-1"})
    drawn = []
    for name in ("small-1", "small-2", "small-1"):
        stage = stage_at(tmp_path / f"{len(drawn)}-{name}")
        make_cut(cut_of(context, name), context, stage, NullSink())
        drawn.append(load_file(stage.path / "model" / "model.safetensors"))
        lineage = read_json(stage.path / "model" / "lineage.json")
        assert not any("weights" in parent["used_as"] for parent in lineage["parents"])
    one, two, again = drawn
    cut = load_file(context.stage("small").path / "model" / "model.safetensors")
    assert {name: tensor.shape for name, tensor in one.items()} == {name: tensor.shape for name, tensor in cut.items()}
    layer = "model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(one[layer], again[layer])
    assert not torch.equal(one[layer], two[layer])


def test_a_budget_below_everything_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path, small={"share": None, "max_bytes": 1000})
    with pytest.raises(BudgetError):
        make_cut(cut_of(context), context, stage_at(tmp_path / "20-small"), NullSink())
