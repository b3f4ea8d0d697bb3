"""Exams of a release: what a claim compares with is found among the certificates that go along."""

from __future__ import annotations

from typing import Any

import pytest

from spiritsafe.exam import Materials
from spiritsafe.release.verification import exams
from spiritsafe.release.verification.case import ReleaseCase


def test_everything_that_goes_along_is_given(released: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Materials] = []
    true = exams.verification_of
    monkeypatch.setattr(exams, "verification_of", lambda materials: given.append(materials) or true(materials))
    case = ReleaseCase(released.directory, None)
    said = exams.check_exam(case, case.release.exams[0])
    assert said == "sums: 4 certificates verify, 3 of files in this release"
    teacher = released.directory / "exams/sums/teacher.certificate.json"
    by_name = {one.certificate.name.partition(".")[0]: one for one in given}
    assert {name: one.reference for name, one in by_name.items()} == {
        "toy": teacher, "toy-q8_0": None, "toy-q4_0": None, "teacher": None
    }  # fmt: skip
    assert all(one.sealed is not None and one.ledger is not None for one in given)
    checked = [step.checked for step in true(by_name["toy"]).steps if step.name in ("reference", "ledger file")]
    assert checked == [True, True]
