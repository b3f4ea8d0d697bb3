from __future__ import annotations

import pytest
from pydantic import ValidationError

from spiritsafe.core import certificates, outcomes
from spiritsafe.core.outcomes import Outcome

FIELDS = {
    "index": 0, "half": "public", "sample_index": 0, "status": "correct", "score": 1.0, "num_prompt_tokens": 1,
    "num_tokens": 1, "commitment": "0" * 64,
}  # fmt: skip


def test_certificates_export_the_same_records() -> None:
    for name in ("Ending", "Half", "HalfResult", "Outcome", "OutcomeStatus"):
        assert getattr(certificates, name) is getattr(outcomes, name)


def test_lost_shows_only_where_it_is_true() -> None:
    assert "lost" not in Outcome.from_json(FIELDS).to_json()
    assert Outcome.from_json({**FIELDS, "lost": True}).to_json()["lost"] is True


@pytest.mark.parametrize(
    "change", [{"status": "fine"}, {"half": "third"}, {"score": 1.5}, {"index": -1}, {"commitment": "0" * 63}]
)
def test_malformed_outcomes_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Outcome.model_validate({**FIELDS, **change})
