"""Whatever a stranger appends to a ledger, certificates, verifications and exposure reports stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from attack_parts import MALLORY, reissue
from exam_parts import Forger, Stage, ToyModel, make_stage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stranger_parts import FIELDS, JUNK, KINDS, own_values

from spiritsafe.exam import PaperLog, StepResult, exposures
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.registration import Claim
from spiritsafe.ledger import Ledger

TELL = ("ledger file", "disputes", "re-runs")
"""Steps that name what they ignore, or count the ledger's lines."""

JSON_VALUES = st.recursive(
    st.sampled_from(JUNK) | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e15, 1e15) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=6,
)


class Exam:
    """A finished exam, and what is said of it before a stranger writes."""

    def __init__(self, root: Any) -> None:
        self.stage = make_stage(root, count=8)
        claim = Claim(kind="score at least", score=0.3)
        self.stage.register(ToyModel(name="silent"), claim=claim)
        self.certificate: Certificate = self.stage.certificate(ToyModel(kind="remote"), claim=claim)
        (root / "again").mkdir()
        self.line = self.stage.ledger.path.read_bytes()
        self.own = own_values(self.stage, self.certificate)
        self.said, self.steps = said(self.stage, self.certificate)


def said(stage: Stage, certificate: Certificate) -> tuple[list[Any], Sequence[StepResult]]:
    again = reissue(Forger(stage, certificate), "again")
    told = [again.registrations, again.correction, again.access, again.statements, again.result, len(again.evidence)]
    told.append(exposures(PaperLog(stage.ledger.entries(), stage.paper.header)))
    return told, stage.verify("again", result=None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Exam:
    return Exam(tmp_path_factory.mktemp("exam"))


def bodies(own: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The exam's own values, some of them spoilt, and other fields."""
    spoilt = st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES, max_size=4)
    return st.builds(
        lambda kept, junk: {**{k: own[k] for k in kept}, **junk}, st.sets(st.sampled_from(sorted(own))), spoilt
    )


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_garbage_changes_nothing(finished: Exam, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("garbage") / "ledger.jsonl"
    path.write_bytes(finished.line)
    stage = replace(finished.stage, ledger=Ledger(path))
    entries = data.draw(st.lists(st.tuples(st.sampled_from(KINDS), bodies(finished.own)), min_size=1, max_size=25))
    for kind, body in entries:
        stage.ledger.append(kind, body, MALLORY)
    told, steps = said(stage, finished.certificate)
    assert told == finished.said
    assert [(step.name, step.ok) for step in steps] == [(step.name, step.ok) for step in finished.steps]
    for before, after in zip(finished.steps, steps, strict=True):
        if before.name not in (*TELL, "ledger proofs", "certificate file"):
            assert (after.checked, after.detail) == (before.checked, before.detail)
