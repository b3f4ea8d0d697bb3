from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import templates_parts
import torch
from pipeline_parts import recipe_with

from spiritsafe.models import ChatFormat, default_cache, resolve_source
from spiritsafe.pipeline.plan.known import faults_of
from spiritsafe.pipeline.step import Forecast, step_of

LIVE: dict[str, Any] = {"signal": None, "teacher": "teacher"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "forward KL to the teacher + cross-entropy"),
        (LIVE | {"ce_share": 0.0, "objective": "jsd"}, "Jensen–Shannon divergence to the teacher"),
        (LIVE | {"objective": "across"}, "divergence of chunk likelihoods to the teacher + cross-entropy"),
        (LIVE | {"hidden": {"pairs": 1}}, "forward KL to the teacher + cross-entropy + hidden states"),
    ],
)
def test_a_loss_has_a_name(changes: dict[str, Any], said: str) -> None:
    node = recipe_with(student=changes).node("student")
    assert step_of(node).words(node).loss == said


def test_whose_gain_is_kept_is_told_of_one_teacher_alone() -> None:
    two = LIVE | {"teacher": {"review": "teacher", "sampled": "rl"}}
    for changes, gain_of in ((LIVE, "teacher"), (two, None)):
        node = recipe_with(student=changes).node("student")
        assert step_of(node).words(node).gain_of == gain_of


def test_teacher_and_student_read_the_same_tokens_but_across_tokenizers(tmp_path: Path) -> None:
    other = templates_parts.qwen3(tmp_path / "other")
    base = resolve_source("tiny:0", cache=default_cache())
    steps: dict[str, dict[str, Any]] = {
        "kl": {"kind": "distil", "teacher": "rl"},
        "signal-kl": {"kind": "distil", "signal": "signal"},
        "across": {"kind": "distil", "teacher": "rl", "objective": "across"},
        "mixed": {"kind": "distil", "teacher": {"review": "rl", "sampled": "teacher"}},
        "answers": {"kind": "tune"},
    }
    own = {name: step | {"from": "other", "learns": ["review", "sampled"]} for name, step in steps.items()}
    recipe = recipe_with(f'models.other.source="{other}"', **own)
    chats = {"base": ChatFormat(base), "other": ChatFormat(other)}
    found = faults_of(Forecast(recipe=recipe, configs={}, device=torch.device("cpu"), chats=chats))
    assert [fault.split(":")[0] for fault in found] == ["kl", "signal-kl", "mixed", "mixed"]
    for fault in found:
        assert "and other have other tokens" in fault
        assert '"across"' in fault
    assert (
        faults_of(Forecast(recipe=recipe, configs={}, device=torch.device("cpu"), chats={"base": chats["base"]})) == []
    )
