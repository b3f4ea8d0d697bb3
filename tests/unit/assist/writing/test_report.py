from __future__ import annotations

import pytest

from spiritsafe.assist.asker import AskingCost
from spiritsafe.assist.writing.report import AskedRound, KeptTest, TestsReport
from spiritsafe.core.errors import IntegrityError


def test_it_is_the_same_after_a_file_and_refuses_what_it_does_not_know() -> None:
    report = TestsReport(
        path="a.py", language="python", source_digest="sha256:a", model="m", model_digest="sha256:m", sandbox="s",
        mutants=2, killed=1, not_run=0, same=3, coverage=0.5,
        kept=(KeptTest(name="test_a", kills=("L1",), alone=("L1",)),), survivors=("L2",), invalid=(), redundant=(),
        rounds=(AskedRound(outcome="no code", cost=AskingCost(questions=1)),),
        cost=AskingCost(questions=1), seconds=1.5,
    )  # fmt: skip
    assert TestsReport.from_json(report.to_json()) == report
    with pytest.raises(IntegrityError, match="more"):
        TestsReport.from_json({**report.to_json(), "more": 1})
