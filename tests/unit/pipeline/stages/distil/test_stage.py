from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline_parts import context_after, stage_at
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.events import NullSink
from spiritsafe.core.files.atomic import read_json, write_json
from spiritsafe.models import ChatFormat, verify_checkpoint
from spiritsafe.models.sources.tiny import TINY_CHAT_TEMPLATE
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.cut import CutRecipe
from spiritsafe.pipeline.recipe.distil import DistilRecipe
from spiritsafe.pipeline.recipe.given import GivenRecipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.cut import make_cut
from spiritsafe.pipeline.stages.distil import parts as parts_module
from spiritsafe.pipeline.stages.distil import stage as stage_module
from spiritsafe.pipeline.stages.distil.stage import distil_model
from spiritsafe.pipeline.stages.source import fetch_model


def stage_of(run: Path, name: str) -> Path:
    return next(run.glob(f"stages/[0-9][0-9]-{name}"))


def test_the_student_is_within_its_budget_and_loads_in_transformers(tiny_run: Path) -> None:
    student = read_json(stage_of(tiny_run, "student") / "model" / "lineage.json")
    teacher = read_json(stage_of(tiny_run, "teacher") / "model" / "lineage.json")
    assert student["weight_bytes"] <= 0.85 * teacher["weight_bytes"]
    model = AutoModelForCausalLM.from_pretrained(stage_of(tiny_run, "student") / "model")
    assert model.num_parameters() == student["num_parameters"]


def test_its_lineage_says_how_the_teacher_was_used(tiny_run: Path) -> None:
    def used(name: str) -> list[list[str]]:
        lineage = read_json(stage_of(tiny_run, name) / "model" / "lineage.json")
        return [parent["used_as"] for parent in lineage["parents"]]

    assert used("small") == [["weights"]]
    assert used("student") == [["weights"], ["logits", "outputs"]]
    assert used("on-policy") == [["weights", "logits", "hidden_states", "outputs"]]


def test_the_cut_is_on_record(tiny_run: Path) -> None:
    report = json.loads((stage_of(tiny_run, "small") / "report.json").read_text("utf-8"))
    assert sorted([*report["keep"], *report["removed"]]) == [0, 1]


def test_hidden_states_leave_no_trace_in_the_released_student(tiny_run: Path) -> None:
    released = load_file(stage_of(tiny_run, "on-policy") / "model" / "model.safetensors")
    cut = load_file(stage_of(tiny_run, "teacher") / "model" / "model.safetensors")
    assert {name: tensor.shape for name, tensor in released.items()} == {n: t.shape for n, t in cut.items()}
    assert any(not torch.equal(released[name], cut[name]) for name in cut)
    curve = read_json(stage_of(tiny_run, "on-policy") / "curve.json")
    assert "hidden_cosine" in curve[0]
    assert "hidden_cosine" not in curve[-1]


def test_on_policy_documents_are_the_students_own(tiny_run: Path) -> None:
    lines = (stage_of(tiny_run, "on-policy") / "rounds" / "rounds.jsonl").read_text("utf-8").splitlines()
    rounds = [json.loads(line) for line in lines]
    assert [row["round"] for row in rounds] == [0, 1]
    assert all(row["num_answers"] == 4 for row in rounds)


LIVE: dict[str, Any] = {"signal": None, "teacher": "teacher"}


def distilled(context: RunContext, stage: StageDirectory, name: str = "student") -> dict[str, Any]:
    step = context.recipe.node(name).recipe
    assert isinstance(step, DistilRecipe)
    return dict(distil_model(step, context, stage, NullSink()))


@pytest.mark.parametrize(
    ("cut_changes", "changes"),
    [
        ({"start": "random"}, LIVE | {"objective": "reverse_kl"}),
        ({"vocabulary": "seen"}, LIVE | {"objective": "skew_forward_kl", "ce_share": 0.2}),
        ({"share": 1.0}, LIVE | {"objective": "jsd", "beta": 0.3, "temperature": 2.0, "hidden": {"pairs": 1}}),
        ({}, LIVE | {"lora": {"rank": 4}}),
    ],
    ids=["random start", "seen vocabulary", "jsd and hidden states", "adapters"],
)
def test_every_kind_of_student_can_be_made(
    tiny_run: Path, tmp_path: Path, cut_changes: dict[str, Any], changes: dict[str, Any]
) -> None:
    context = context_after(tiny_run, tmp_path, small=cut_changes, student=changes)
    recipe = context.recipe.node("small").recipe
    assert isinstance(recipe, CutRecipe)
    cut = stage_at(tmp_path / "20-small")
    make_cut(recipe, context, cut, NullSink())
    cut.finish({})
    context.done["small"] = cut
    stage = stage_at(tmp_path / "21-student")
    result = distilled(context, stage)
    assert verify_checkpoint(stage.path / "model").digest == result["digest"]
    before, after = (load_file(path / "model" / "model.safetensors") for path in (cut.path, stage.path))
    assert before.keys() == after.keys()
    assert all(bool(torch.isfinite(tensor).all()) for tensor in after.values())
    lineage = read_json(stage.path / "model" / "lineage.json")
    assert ("weights" in lineage["parents"][0]["used_as"]) == (recipe.start == "weights")
    if recipe.vocabulary == "seen":
        AutoModelForCausalLM.from_pretrained(stage.path / "model")


ROUNDS: dict[str, Any] = {"prompts_per_round": 4, "steps_per_round": 1, "num_rounds": 2, "sampling": {"max_tokens": 8}}


@pytest.mark.parametrize(
    "changes",
    [{}, LIVE | {"objective": "reverse_kl", "on_policy": ROUNDS, "train": None}],
    ids=["captured", "on-policy"],
)
def test_a_model_of_its_own_follows_the_teacher_as_a_cut_does(
    tiny_run: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Where both read the same tokens, it matters to no signal whose weights the student began with."""
    own = {"from": "own", "ce_share": 0.0} | changes
    small = {"calibrate": ["review", "sampled"]}
    context = context_after(tiny_run, tmp_path, 'models.own.source="tiny:1"', small=small, student=own)
    given = stage_at(tmp_path / "02-own")
    fetched = fetch_model(GivenRecipe(source="tiny:1"), context, given, NullSink())
    given.finish(fetched)
    context.done["own"] = given
    stage = stage_at(tmp_path / "21-student")
    result = distilled(context, stage)
    assert verify_checkpoint(stage.path / "model").digest == result["digest"]
    lineage = read_json(stage.path / "model" / "lineage.json")
    assert [(parent["name"], parent["used_as"][0]) for parent in lineage["parents"]] == [
        ("tiny-1", "weights"),
        ("tiny-teacher", "logits"),
    ]
    assert (stage.path / "rounds").exists() == ("on_policy" in changes)


def test_a_student_that_reads_otherwise_than_its_teacher_is_refused(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit stands before the training: another chat template stops the stage."""
    context = context_after(tiny_run, tmp_path)
    trained: list[object] = []
    monkeypatch.setattr(stage_module, "train_model", lambda *args: trained.append(args))
    real = parts_module.load_learner
    (other := tmp_path / "other").mkdir()

    def other_template(context: RunContext, name: str, base: None) -> object:
        loaded = real(context, name, base)
        loaded.chat.save(other)
        settings = read_json(other / "tokenizer_config.json")
        template = TINY_CHAT_TEMPLATE.replace("\\n", ": \\n", 1)
        write_json(other / "tokenizer_config.json", {**settings, "chat_template": template})
        return replace(loaded, chat=ChatFormat(other))

    monkeypatch.setattr(parts_module, "load_learner", other_template)
    with pytest.raises(CompatibilityError, match="prompt"):
        distilled(context, stage_at(tmp_path / "21-student"))
    assert trained == []
