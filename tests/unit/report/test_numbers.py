from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from report_parts import estimate

from spiritsafe.report import numbers


def plain(text: str) -> str:
    return text.replace("\u00a0", " ").replace("\u202f", " ")


def test_scores_carry_their_interval() -> None:
    score = estimate(0.545, 0.069)
    assert plain(numbers.score_text(score)) == "54.5 % (47.6–62.1 %)"
    assert plain(numbers.score_value(score)) == "54.5 %"
    assert plain(numbers.score_range(score, 0)) == "48–62 %"


def test_changes_carry_sign_and_interval() -> None:
    assert plain(numbers.change_text(estimate(0.51, 0.068))) == "+51.0 points (+44.2 to +58.5)"
    assert plain(numbers.change_text(estimate(-0.02, 0.1))) == "−2.0 points (−12.0 to +9.0)"
    assert numbers.change_value(estimate(-0.0001, 0.1)) == "0.0"


def test_losses_are_in_nats_with_three_decimals() -> None:
    assert (numbers.nats_value(estimate(1.4123, 0.04)), numbers.nats_range(estimate(1.4123, 0.04))) == (
        "1.412",
        "1.372 to 1.456",
    )
    change = estimate(-0.0312, 0.04)
    assert (numbers.nats_change_value(change), numbers.nats_change_range(change)) == ("−0.031", "−0.071 to +0.013")
    assert numbers.nats_change_value(estimate(-0.0001, 0.1)) == "0.000"


def test_a_range_with_a_minus_is_not_written_with_a_dash() -> None:
    assert plain(numbers.score_range(estimate(0.01, 0.05))) == "−4.0 to 6.5 %"


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (226_540_000, "227 MB"),
        (999_600, "1.00 MB"),
        (61_000_000_000, "61.0 GB"),
        (3e20, "300000 PB"),
    ],
)
def test_bytes(num_bytes: float, text: str) -> None:
    assert plain(numbers.memory_text(num_bytes)) == text


def test_counts() -> None:
    assert plain(numbers.scaled_count(134_515_008)) == "135 M"
    assert plain(numbers.scaled_count(12)) == "12"
    assert plain(numbers.tick_count(50_000)) == "50 k"
    assert plain(numbers.tick_count(2_500_000)) == "2.5 M"
    assert numbers.tick_count(0) == "0"
    assert plain(numbers.count_text(331_200)) == "331 200"
    assert numbers.count_text(4012) == "4012"


def test_shares_and_speeds() -> None:
    assert plain(numbers.share_text(84.2, 100)) == "84 %"
    assert plain(numbers.share_text(0.4, 61)) == "0.7 %"
    assert plain(numbers.speed_text(4.71)) == "4.7"
    assert plain(numbers.speed_text(115_300)) == "115 k"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.7, "1 min 00 s"),
        (221.7, "3 min 42 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert plain(numbers.time_text(seconds)) == text


def test_dates_are_utc() -> None:
    moment = datetime(2026, 3, 14, 1, 5, tzinfo=timezone(timedelta(hours=2)))
    assert numbers.date_text(moment) == "13 March 2026, 23:05 UTC"


def test_operations_have_three_digits_and_a_unit() -> None:
    assert [plain(numbers.work_text(n)) for n in (0, 3e9, 1.234e15, 5.6e20)] == [
        "0 FLOP",
        "3.00 GFLOP",
        "1.23 PFLOP",
        "560 EFLOP",
    ]
