from __future__ import annotations

import pytest

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.records.review import OpenedAnswer, OpenedPaper, OpenedSitting

DIGEST = "sha256:" + "1" * 64
ANSWER = {"index": 1, "sample_index": 0, "attempt": {"text": "4"}, "verdict": None, "salt": "0" * 32}


def test_answers_round_trip_with_their_formats() -> None:
    sitting = OpenedSitting(paper_id=DIGEST, registration=DIGEST, answers=(OpenedAnswer.from_json(ANSWER),))
    assert sitting.to_json()["format"] == "spiritsafe.answers/1"
    assert OpenedSitting.from_json(sitting.to_json()) == sitting
    with pytest.raises(IntegrityError, match="format"):
        OpenedSitting.from_json({**sitting.to_json(), "format": "spiritsafe.answers/2"})


def test_a_salt_is_a_salt() -> None:
    with pytest.raises(IntegrityError, match="salt"):
        OpenedAnswer.from_json({**ANSWER, "salt": "0" * 31})


def test_an_opened_paper_has_no_room_for_its_secret() -> None:
    assert OpenedPaper.model_fields.keys() == {"format", "header", "problems"}
    assert "secret" not in OpenedSitting.model_fields
