from __future__ import annotations

import pytest
from pydantic import ValidationError
from stranger_parts import IMPOSSIBLE

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.records import instant
from spiritsafe.exam.records.result import Outcome
from spiritsafe.ledger.records import LedgerEntry, SignedHead

FIELDS = {
    "index": 0, "half": "public", "sample_index": 0, "status": "correct", "score": 1.0, "num_prompt_tokens": 1,
    "num_tokens": 1, "commitment": "0" * 64,
}  # fmt: skip


NO_INSTANTS = (*IMPOSSIBLE, "2026-02-30T00:00:00.000Z", "2026-01-01T24:00:00.000Z", "2026-01-01", "", "now")


def test_an_instant_is_read_and_what_only_looks_like_one_is_none() -> None:
    found = instant("2026-02-28T23:59:59.999Z")
    assert found is not None
    assert found.isoformat() == "2026-02-28T23:59:59.999000+00:00"
    assert instant("9999-12-31T23:59:59.999Z") is not None
    assert [instant(text) for text in NO_INSTANTS] == [None] * len(NO_INSTANTS)


@pytest.mark.parametrize("time", NO_INSTANTS)
def test_records_take_instants_and_only_a_ledgers_line_may_hold_another_time(time: str) -> None:
    signature = {"key": "0" * 64, "value": "0" * 128}
    with pytest.raises(IntegrityError):
        SignedHead.from_json({"size": 1, "root": "0" * 64, "time": time, "signature": signature})
    line = {"index": 0, "previous": "sha256:" + "0" * 64, "time": time, "kind": "", "body": {}, "signature": signature}
    if len(time) == 24:
        assert LedgerEntry.from_json(line).time == time  # it is there, and stays
    else:
        with pytest.raises(IntegrityError):
            LedgerEntry.from_json(line)


def test_lost_shows_only_where_it_is_true() -> None:
    assert "lost" not in Outcome.from_json(FIELDS).to_json()
    assert Outcome.from_json({**FIELDS, "lost": True}).to_json()["lost"] is True


@pytest.mark.parametrize(
    "change", [{"status": "fine"}, {"half": "third"}, {"score": 1.5}, {"index": -1}, {"commitment": "0" * 63}]
)
def test_malformed_outcomes_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Outcome.model_validate({**FIELDS, **change})
