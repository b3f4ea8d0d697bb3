from __future__ import annotations

import pytest
from pydantic import ValidationError

from spiritsafe.exam.records.trust import Promise, TrustPage
from spiritsafe.stats.intervals import clopper_pearson_interval

GOOD = {"name": "one", "text": "One.", "state": "holds", "finding": "so", "steps": (1,), "cheat": "more"}


@pytest.mark.parametrize(("state", "give"), [("holds", "--ledger FILE"), ("not checked here", "")])
def test_what_was_not_checked_says_what_to_give_and_nothing_else_does(state: str, give: str) -> None:
    with pytest.raises(ValidationError, match="says what to give"):
        Promise(**{**GOOD, "state": state, "give": give})


def test_a_page_finds_its_promises() -> None:
    promise = Promise(**GOOD)
    page = TrustPage(
        certificate="sha256:" + "0" * 64,
        model_name="m",
        task="t",
        sealed=clopper_pearson_interval(1, 2),
        verified=True,
        promises=(promise,),
    )
    assert page.of("one") is promise
    with pytest.raises(KeyError):
        page.of("two")
    assert TrustPage.from_json(page.to_json()) == page
