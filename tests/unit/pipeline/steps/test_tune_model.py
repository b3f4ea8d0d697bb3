from __future__ import annotations

import json
from pathlib import Path

import torch

from spiritsafe.core.records import Message, Problem
from spiritsafe.models import load_model, resolve_source
from spiritsafe.pipeline.context import Trace
from spiritsafe.pipeline.stages.training import documents_of


def test_worked_traces_end_with_the_end_token_and_drawn_ones_keep_their_tokens() -> None:
    loaded = load_model(resolve_source("tiny:0"), dtype=torch.float32)
    problem = Problem(task="t", canonical_text="x", messages=(Message(role="user", content="x?"),))
    worked, drawn = documents_of(
        loaded, [Trace(problem=problem, text="y"), Trace(problem=problem, text="y", token_ids=(5, 6, 7))]
    )
    assert worked.token_ids[-1] in loaded.chat.eos_ids
    assert worked.supervised[-1]
    assert drawn.token_ids[-3:] == (5, 6, 7)


def test_the_teacher_descends_from_the_base(tiny_run: Path) -> None:
    base = json.loads((tiny_run / "stages" / "01-base" / "lineage.json").read_text("utf-8"))
    teacher = json.loads((tiny_run / "stages" / "09-teacher" / "model" / "lineage.json").read_text("utf-8"))
    assert [(p["digest"], p["used_as"]) for p in teacher["parents"]] == [(base["digest"], ["weights"])]
    assert teacher["recipe"] == json_hash(tiny_run)


def json_hash(run: Path) -> str:
    from spiritsafe.core.canonical import digest

    return digest(json.loads((run / "resolved.json").read_text("utf-8")))


def test_the_curve_holds_dev_accuracy(tiny_run: Path) -> None:
    curve = json.loads((tiny_run / "stages" / "09-teacher" / "curve.json").read_text("utf-8"))
    assert curve[-1]["evaluation"]["dev_problems"] == 8
    assert all(point["changed_share"] > 0.9 for point in curve)
