from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from spiritsafe.reinforce.alarms import AlarmConfig, all_alarms, first_end, new_alarms, spent_hint

CONFIG = AlarmConfig(window=8)


def history(num_rounds: int, **course: Callable[[int], Any] | Any) -> list[dict[str, Any]]:
    """Rounds in which all is well, but for what is given: a value, or a function of the round."""
    well: dict[str, Any] = {
        "entropy": 0.6,
        "share_truncated": 0.05,
        "tokens_mean": 40.0,
        "reward_mean": lambda r: 0.3 + 0.01 * r,
        "share_parsed": 0.95,
        "num_kept_groups": 8,
        "dev_step": lambda r: 5 * (r // 5),
        "dev_score": lambda r: 0.3 + 0.05 * (r // 5),
    }
    return [
        {"round": r, **{name: value(r) if callable(value) else value for name, value in (well | course).items()}}
        for r in range(num_rounds)
    ]


def names(rows: list[dict[str, Any]], config: AlarmConfig = CONFIG) -> list[tuple[str, int]]:
    return [(alarm.name, alarm.round) for alarm in all_alarms(rows, config)]


def test_a_healthy_run_raises_none() -> None:
    assert names(history(60)) == []
    assert names([]) == []
    unknown = history(30, entropy=None, dev_step=None, dev_score=None, reward_mean=None)
    assert names(unknown) == []


def test_low_entropy_is_told_once_until_it_has_recovered() -> None:
    rows = history(30, entropy=lambda r: 0.05 if 10 <= r < 20 else 0.12)
    config = CONFIG.model_copy(update={"entropy_fall": 1.0})
    # means over three rounds: 0.12, 0.12, 0.05 is still 0.097
    assert names(rows, config) == [("entropy_collapse", 10)]
    assert names(history(30, entropy=lambda r: 0.05 if r in (10, 20) else 0.3), config) == []
    twice = history(40, entropy=lambda r: 0.02 if r % 20 >= 10 else 0.5)
    assert [at for _, at in names(twice, CONFIG.model_copy(update={"entropy_fall": 1.0}))] == [12, 32]


def test_a_fall_of_entropy_is_told_when_it_is_fast() -> None:
    fast = history(30, entropy=lambda r: 2.0 if r < 12 else 0.8)
    assert names(fast) == [("entropy_collapse", 14)]
    assert "from 2.000 to 0.800" in all_alarms(fast, CONFIG)[0].message
    assert names(history(60, entropy=lambda r: 2.0 * 0.96**r)) == []


def test_growing_answers_are_told_unless_they_earn_more() -> None:
    growing: dict[str, Any] = {"tokens_mean": lambda r: 40.0 * 1.12**r}
    assert names(history(20, **growing)) == []
    alarms = all_alarms(history(20, **growing, reward_mean=0.4), CONFIG)
    assert [(a.name, a.round) for a in alarms] == [("length_runaway", 6)]
    assert "grew from 45 to 71 tokens" in alarms[0].message
    truncated = all_alarms(history(20, share_truncated=lambda r: 0.05 if r < 10 else 0.4), CONFIG)
    assert [(a.name, a.round) for a in truncated] == [("length_runaway", 11)]
    assert "grew from 5% to 28%" in truncated[0].message


def test_reward_that_development_problems_do_not_see_is_told_with_the_next_evaluation() -> None:
    rising: dict[str, Any] = {"reward_mean": lambda r: 0.03 * r}
    assert names(history(30, **rising)) == []
    alarms = all_alarms(history(30, **rising, dev_score=0.3), CONFIG)
    assert [(a.name, a.round) for a in alarms] == [("reward_without_dev_gain", 5)]
    assert "Reward grew from 0.00 to 0.12" in alarms[0].message
    assert "from 30.0% to 30.0%" in alarms[0].message
    # one evaluation says nothing of a gain, however much the reward rises
    assert names(history(30, **rising, dev_step=0, dev_score=0.3)) == []
    assert names(history(30, **rising, dev_step=None, dev_score=None)) == []
    # evaluations further apart than the window are compared with each other
    rare = history(30, reward_mean=lambda r: 0.02 * r, dev_step=lambda r: 15 * (r // 15), dev_score=0.3)
    assert names(rare) == [("reward_without_dev_gain", 15)]


def test_learning_the_form_and_not_the_answer_is_told() -> None:
    form: dict[str, Any] = {"share_parsed": lambda r: 0.5 + 0.03 * min(r, 16), "reward_mean": 0.3}
    assert names(history(30, **form, dev_score=0.3)) == [("format_hacking", 5)]
    assert names(history(30, **form)) == []


def test_a_round_without_advantage_warns_and_many_end_the_run() -> None:
    rows = history(30, num_kept_groups=lambda r: 0 if r == 4 or r >= 20 else 8, reward_mean=0.0)
    assert names(rows) == [("no_advantage", 4), ("no_advantage", 20), ("pool_spent", 24)]
    alarms = all_alarms(rows, CONFIG)
    end = first_end(alarms, CONFIG)
    assert end is not None
    assert (end.name, end.round) == ("pool_spent", 24)
    stopping = CONFIG.model_copy(update={"stop_on": ("no_advantage",)})
    assert first_end(alarms, stopping) == alarms[0]
    assert first_end(alarms[:1], CONFIG) is None


@pytest.mark.parametrize(
    ("reward", "word"), [(0.0, "too hard"), (0.4, "too hard"), (1.0, "solved"), (None, "No answer was scored")]
)
def test_the_advice_fits_the_pass_rate(reward: float | None, word: str) -> None:
    assert word in spent_hint(history(1, reward_mean=reward))


def test_the_newest_alarms_are_those_of_the_last_round() -> None:
    rows = history(30, num_kept_groups=lambda r: 0 if r in (3, 4, 9) else 8)
    found = [new_alarms(rows[: end + 1], CONFIG) for end in range(30)]
    assert [len(alarms) for alarms in found] == [int(r in (3, 9)) for r in range(30)]
    assert tuple(alarm for alarms in found for alarm in alarms) == all_alarms(rows, CONFIG)
    assert new_alarms([], CONFIG) == ()
