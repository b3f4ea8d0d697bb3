from __future__ import annotations

import pytest
from pydantic import ValidationError

from spiritsafe.exam.records.review import Dispute
from spiritsafe.ledger import KeyPair

DIGEST = "sha256:" + "1" * 64


def dispute(**change: object) -> Dispute:
    fields = {
        "paper_id": DIGEST, "registration": DIGEST, "index": 1, "sample_index": 0, "graded": "wrong",
        "proposed": "correct", "reason": "42 is right.", "author": KeyPair.generate("Dora").public, **change,
    }  # fmt: skip
    return Dispute.model_validate(fields)


def test_a_dispute_is_named_by_all_it_says() -> None:
    one = dispute()
    assert Dispute.from_json(one.to_json()).content_digest == one.content_digest
    assert one.content_digest != dispute().content_digest  # another author
    assert one.content_digest != one.model_copy(update={"reason": "43 is right."}).content_digest


@pytest.mark.parametrize("change", [{"reason": ""}, {"reason": "x" * 2001}, {"proposed": "good"}, {"index": -1}])
def test_malformed_disputes_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        dispute(**change)
