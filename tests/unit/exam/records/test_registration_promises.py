from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from spiritsafe.exam.records.registration import Budget, Claim

DIGEST = "sha256:" + "1" * 64


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "score at least", "score": 0.5}, "the sealed score is at least 50 %"),
        ({"kind": "better than", "reference": DIGEST}, "better than the reference"),
        (
            {"kind": "better than", "reference": DIGEST, "margin": 0.05},
            "better than the reference by at least 5 points",
        ),
        (
            {"kind": "no worse than", "reference": DIGEST, "margin": 0.025},
            "not worse than the reference by more than 2.5 points",
        ),
    ],
)
def test_claims_say_what_they_claim(fields: dict[str, Any], words: str) -> None:
    claim = Claim(**fields)
    assert claim.words == words
    assert Claim.from_json(claim.to_json()) == claim


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "score at least"},
        {"kind": "score at least", "score": 0.5, "reference": DIGEST},
        {"kind": "score at least", "score": 0.5, "margin": 0.1},
        {"kind": "score at least", "score": 1.0},
        {"kind": "better than"},
        {"kind": "better than", "score": 0.5, "reference": DIGEST},
        {"kind": "no worse than", "reference": DIGEST},
        {"kind": "better than", "reference": "certificate.json"},
        {"kind": "better than", "reference": DIGEST, "level": 0.5},
        {"kind": "best of all"},
    ],
)
def test_claims_that_claim_nothing_definite_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Claim(**fields)


def test_money_is_tokens_times_prices() -> None:
    budget = Budget(max_cost=2.0, prompt_price=0.5, completion_price=1.5)
    assert budget.cost(2_000_000, 1_000_000) == pytest.approx(2.5)
    assert Budget(max_tokens=5).cost(1, 1) is None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"currency": "EUR"},
        {"max_cost": 1.0},
        {"max_cost": 1.0, "prompt_price": 1.0},
        {"max_tokens": 5, "prompt_price": 1.0, "completion_price": 1.0},
        {"max_tokens": 0},
        {"max_seconds": 0.0},
    ],
)
def test_budgets_that_limit_nothing_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Budget(**fields)
