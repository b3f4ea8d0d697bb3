from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stranger_parts import IMPOSSIBLE, append_at

from spiritsafe.core.errors import IntegrityError
from spiritsafe.ledger import GENESIS, KeyPair, Ledger, log, runs_back, wrong_clocks
from spiritsafe.ledger.clocks import next_time
from spiritsafe.ledger.records import LedgerEntry

ANN, BEN, EVE = (KeyPair.generate(name) for name in ("Ann", "Ben", "Eve"))
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def stamp(hours: float) -> str:
    return (START + timedelta(hours=hours)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def entries(*times: str) -> list[LedgerEntry]:
    """Entries of these times; nothing but index and time is looked at."""
    signature = {"key": "0" * 64, "value": "0" * 128}
    common = {"previous": GENESIS, "kind": "", "body": {}, "signature": signature}
    return [LedgerEntry.from_json({**common, "index": at, "time": time}) for at, time in enumerate(times)]


def wrong(*times: str) -> list[int]:
    return [entry.index for entry in wrong_clocks(entries(*times))]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch):
    """Set the clock of who appends."""

    def set_clock(hours: float) -> None:
        monkeypatch.setattr(log, "utc_now", lambda: stamp(hours))

    return set_clock


def test_a_line_of_2099_leaves_everybody_elses_time_alone(tmp_path: Path, at) -> None:
    ledger = Ledger(tmp_path / "l.jsonl")
    at(0)
    ledger.append("note", {}, ANN)
    append_at(ledger, "2099-01-01T00:00:00.000Z", EVE)
    at(1)
    assert ledger.append("note", {}, ANN).time == stamp(1)
    assert ledger.append("note", {}, BEN).time == stamp(1)
    assert ledger.verify().ok
    assert [entry.index for entry in wrong_clocks(ledger.entries())] == [1]


@pytest.mark.parametrize("time", IMPOSSIBLE)
def test_a_line_whose_time_is_none_counts_for_the_order_only(tmp_path: Path, at, time: str) -> None:
    ledger = Ledger(tmp_path / "l.jsonl")
    at(0)
    ledger.append("note", {}, ANN)
    append_at(ledger, time, EVE)
    append_at(ledger, time, ANN)  # her own line is no clock to her either
    at(1)
    assert ledger.append("note", {}, ANN).time == stamp(1)
    assert Ledger(ledger.path).verify().ok
    assert [entry.index for entry in wrong_clocks(ledger.entries())] == [1, 2]


def test_a_clock_that_is_set_back_a_little_stands_still_and_one_far_ahead_is_corrected(tmp_path: Path, at) -> None:
    ledger = Ledger(tmp_path / "l.jsonl")
    for clock, time in ((0, 0), (-1, 0), (5, 5), (24 * 365, 24 * 365), (6, 6), (7, 7), (-20, -20)):
        at(clock)
        assert ledger.append("note", {}, ANN).time == stamp(time)
    assert ledger.verify().ok


def test_a_key_cannot_date_its_entry_back_behind_its_own(tmp_path: Path, at) -> None:
    ledger = Ledger(tmp_path / "l.jsonl")
    at(0)
    ledger.append("note", {}, ANN)
    ledger.append("note", {}, BEN)
    append_at(ledger, stamp(-0.001), ANN)
    check = Ledger(ledger.path).verify()
    assert (check.first_bad, "its key signed" in check.problem) == (2, True)
    with pytest.raises(IntegrityError):
        Ledger(ledger.path).append("note", {}, BEN)


def test_a_ledger_of_older_versions_whose_lines_took_a_wrong_time_over_goes_on(tmp_path: Path, at) -> None:
    ledger = Ledger(tmp_path / "l.jsonl")
    for key, time in ((ANN, stamp(0)), (EVE, IMPOSSIBLE[0]), (ANN, IMPOSSIBLE[0]), (BEN, IMPOSSIBLE[0])):
        append_at(ledger, time, key)
    other = Ledger(tmp_path / "m.jsonl")
    for key in (ANN, EVE, ANN, BEN, BEN):
        append_at(other, stamp(0) if len(other.entries()) == 0 else stamp(24 * 9000), key)
    at(30)
    for book in (ledger, other):
        assert book.append("note", {}, ANN).time == stamp(30)
        assert Ledger(book.path).verify().ok
    assert [entry.index for entry in wrong_clocks(ledger.entries())] == [1, 2, 3]
    assert [entry.index for entry in wrong_clocks(other.entries())] == [1, 2, 3, 4]


def test_clocks_that_are_wrong_are_told_from_those_around_them() -> None:
    assert wrong() == []
    assert wrong(stamp(0)) == []
    assert wrong(stamp(0), stamp(-3), stamp(20), stamp(1)) == []  # less than a day is told by nobody
    assert wrong(stamp(0), stamp(1000), stamp(1)) == [1]  # the next one's own clock decides
    assert wrong(stamp(0), stamp(100), stamp(2), stamp(3), stamp(200)) == [1]
    assert wrong(stamp(0), stamp(100), stamp(-100), stamp(101), stamp(102)) == [2]  # dated back
    assert wrong(stamp(0), "1999-01-01T00:00:00.000Z", stamp(1), stamp(1)) == [1]  # and of two, the one that is far off
    assert wrong("9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00.000Z", stamp(0), stamp(1)) == [0]
    assert wrong(*[stamp(50 * k) for k in range(9)], "1970-01-01T00:00:00.000Z") == [9]


@given(st.lists(st.integers(-(10**4), 10**4), max_size=40))
def test_times_in_order_are_never_wrong_and_nothing_raises(hours: list[int]) -> None:
    assert wrong(*map(stamp, sorted(hours))) == []
    assert set(wrong(*map(stamp, hours))) <= set(range(len(hours)))


@given(st.integers(-100, 100), st.integers(-100, 100))
def test_what_is_appended_never_runs_back(before: int, now: int) -> None:
    time = next_time(stamp(before), stamp(now))
    assert not runs_back(stamp(before), time)
    assert abs((datetime.fromisoformat(time) - datetime.fromisoformat(stamp(now))).days) <= 1


def test_what_is_no_time_is_compared_with_nothing() -> None:
    assert next_time(None, stamp(0)) == next_time(IMPOSSIBLE[0], stamp(0)) == stamp(0)
    assert not runs_back(IMPOSSIBLE[0], stamp(0))
    assert not runs_back(stamp(0), IMPOSSIBLE[1])
