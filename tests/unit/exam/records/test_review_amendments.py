from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from spiritsafe.exam.records.review import Amendment, GradeEdit

FIELDS: dict[str, Any] = {
    "dispute": "sha256:" + "1" * 64, "index": 3, "sample_index": 0, "before": "wrong", "after": "correct",
    "score_before": 0.5, "score_after": 1.0, "reason": "The gold answer was wrong.",
}  # fmt: skip


def test_an_edit_round_trips() -> None:
    edit = GradeEdit(**FIELDS)
    assert GradeEdit.from_json(edit.to_json()) == edit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"after": "wrong", "score_after": 0.0}, "to the same"),
        ({"score_after": 0.5}, "with score"),
        ({"after": "unparsed"}, "with score"),
        ({"reason": ""}, "reason"),
        ({"index": -1}, "index"),
        ({"dispute": "3"}, "dispute"),
    ],
)
def test_edits_that_edit_nothing_or_contradict_themselves_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GradeEdit(**{**FIELDS, **change})


def test_an_amendment_has_an_edit() -> None:
    with pytest.raises(ValidationError, match="edits"):
        Amendment.model_validate({"supersedes": FIELDS["dispute"], "edits": [], "original": {}})
