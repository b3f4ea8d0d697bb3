"""Alarms: what goes wrong in learning by reward, told while it can still be mended.

In: the statistics of the rounds so far, development scores among them. Out: alarms, each with its round and a plain
sentence. Pure: the same rounds give the same alarms. They warn; only those that ``stop_on`` names end a run, and a pool
that has nothing left to teach.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, final

from pydantic import Field

from spiritsafe.core.records import Record

AlarmName = Literal[
    "entropy_collapse", "length_runaway", "format_hacking", "reward_without_dev_gain", "no_advantage", "pool_spent"
]

CurveRows = Sequence[Mapping[str, Any]]


@final
class AlarmConfig(Record):
    """When to warn. What is compared are means over three rounds.

    Attributes:
        window: Rounds back that a change is looked for.
        least_entropy: Nats a token below which a policy hardly explores.
        entropy_fall: Share of its entropy whose loss within the window is a collapse.
        length_growth: Factor of growth within the window that is a run-away where the reward has not grown.
        truncated_growth: Growth, within the window, of the share of answers that run into the limit.
        reward_gain: Growth of reward, or of the share of readable answers, that ought to show in the development score.
        dev_gain: Growth of the development score that counts as one.
        max_empty_rounds: The run ends after so many rounds in a row without any advantage.
        stop_on: Alarms that end the run, with the round in which they are raised.
    """

    window: int = Field(default=20, ge=2)
    least_entropy: float = Field(default=0.1, ge=0.0)
    entropy_fall: float = Field(default=0.5, gt=0.0, le=1.0)
    length_growth: float = Field(default=1.5, gt=1.0)
    truncated_growth: float = Field(default=0.2, gt=0.0, le=1.0)
    reward_gain: float = Field(default=0.1, gt=0.0)
    dev_gain: float = Field(default=0.02, ge=0.0)
    max_empty_rounds: int = Field(default=5, ge=1)
    stop_on: tuple[AlarmName, ...] = ()


@final
class Alarm(Record):
    """One alarm.

    Attributes:
        name: What kind.
        round: The round, from 0, at which it began.
        message: What happened, and what to do.
    """

    name: AlarmName
    round: int
    message: str


def new_alarms(rows: CurveRows, config: AlarmConfig) -> tuple[Alarm, ...]:
    """Alarms that begin with the last round: their condition holds now and did not one round before.

    Args:
        rows: Statistics of all rounds so far, in order, as :func:`~spiritsafe.reinforce.rounds.statistics.statistics`
            gives them.
        config: When to warn.
    """
    if not rows:
        return ()
    return tuple(
        Alarm(name=name, round=rows[-1]["round"], message=message)
        for name, condition in _CONDITIONS.items()
        if (message := condition(rows, config)) and not condition(rows[:-1], config)
    )


def all_alarms(rows: CurveRows, config: AlarmConfig) -> tuple[Alarm, ...]:
    """Alarms of all rounds, in order."""
    return tuple(alarm for end in range(len(rows)) for alarm in new_alarms(rows[: end + 1], config))


def first_end(alarms: Sequence[Alarm], config: AlarmConfig) -> Alarm | None:
    """The first of some alarms that ends the run, if one does."""
    return next((alarm for alarm in alarms if alarm.name in (*config.stop_on, "pool_spent")), None)


_SMOOTH = 3


def _mean(rows: CurveRows, name: str) -> float | None:
    """Mean of a statistic over the last rounds that have it."""
    values = [row[name] for row in rows[-_SMOOTH:] if row[name] is not None]
    return sum(values) / len(values) if values else None


def _past(rows: CurveRows, name: str, window: int) -> list[float]:
    """Earlier means within the window, the oldest first; none until there are two means without a common round."""
    newest = len(rows) - _SMOOTH
    ends = range(max(_SMOOTH, len(rows) - window), newest + 1)
    return [value for end in ends if (value := _mean(rows[:end], name)) is not None]


def _entropy_collapse(rows: CurveRows, config: AlarmConfig) -> str | None:
    now, past = _mean(rows, "entropy"), _past(rows, "entropy", config.window)
    if now is None:
        return None
    advice = "Lower the learning rate, raise loss.clip_high, or go back to an earlier checkpoint."
    if now < config.least_entropy:
        return f"Entropy is {now:.3f} nats a token: the answers to a problem are hardly different any more. {advice}"
    if past and now < (1.0 - config.entropy_fall) * max(past):
        return f"Entropy fell from {max(past):.3f} to {now:.3f} nats a token within {config.window} rounds. {advice}"
    return None


def _length_runaway(rows: CurveRows, config: AlarmConfig) -> str | None:
    advice = 'Set reward.overlong_buffer, or choose the loss\'s aggregation "token" or "constant".'
    now, past = _mean(rows, "share_truncated"), _past(rows, "share_truncated", config.window)
    if now is not None and past and now - min(past) > config.truncated_growth:
        return f"Answers that run into the limit of tokens grew from {min(past):.0%} to {now:.0%}. {advice}"
    now, past = _mean(rows, "tokens_mean"), _past(rows, "tokens_mean", config.window)
    reward, rewards = _mean(rows, "reward_mean"), _past(rows, "reward_mean", config.window)
    if now is None or reward is None or not past or not rewards:
        return None
    if now > config.length_growth * past[0] and reward <= rewards[0]:
        return f"Answers grew from {past[0]:.0f} to {now:.0f} tokens while their reward did not. {advice}"
    return None


def _evaluations(rows: CurveRows) -> list[int]:
    """Places of the rounds that are the first to know a development score."""
    steps = [row["dev_step"] for row in rows]
    return [at for at, step in enumerate(steps) if step is not None and (not at or step != steps[at - 1])]


def _gains(rows: CurveRows, name: str, config: AlarmConfig) -> tuple[float, float, float, float] | None:
    """A statistic then and now, the development score then and now.

    Now is the newest evaluation; then is the oldest one within the window before it, or else the last before that.
    """
    known = _evaluations(rows)
    if len(known) < 2:
        return None
    now = known[-1]
    then = next((at for at in known[:-1] if at >= now - config.window), known[-2])
    before, after = _mean(rows[: then + 1], name), _mean(rows[: now + 1], name)
    if before is None or after is None:
        return None
    return before, after, rows[then]["dev_score"], rows[now]["dev_score"]


def _format_hacking(rows: CurveRows, config: AlarmConfig) -> str | None:
    gains = _gains(rows, "share_parsed", config)
    if gains is None or gains[1] - gains[0] < config.reward_gain or gains[3] - gains[2] >= config.dev_gain:
        return None
    return (
        f"Readable answers grew from {gains[0]:.0%} to {gains[1]:.0%}, and the development score went from "
        f"{gains[2]:.1%} to {gains[3]:.1%}: the model learns the form, not the answer. Read some answers in the "
        "round's file, and teach the form by fine-tuning before."
    )


def _reward_without_dev_gain(rows: CurveRows, config: AlarmConfig) -> str | None:
    gains = _gains(rows, "reward_mean", config)
    if gains is None or gains[1] - gains[0] < config.reward_gain or gains[3] - gains[2] >= config.dev_gain:
        return None
    return (
        f"Reward grew from {gains[0]:.2f} to {gains[1]:.2f}, and the development score went from {gains[2]:.1%} to "
        f"{gains[3]:.1%}. Look for a short cut past the verifier in the round's file, and give more problems."
    )


def _no_advantage(rows: CurveRows, config: AlarmConfig) -> str | None:
    if not rows or rows[-1]["num_kept_groups"]:
        return None
    return f"No group of round {rows[-1]['round']} has an advantage, so nothing is learnt from it. {spent_hint(rows)}"


def _pool_spent(rows: CurveRows, config: AlarmConfig) -> str | None:
    last = rows[-config.max_empty_rounds :]
    if len(last) < config.max_empty_rounds or any(row["num_kept_groups"] for row in last):
        return None
    return f"{config.max_empty_rounds} rounds in a row had no group with an advantage. {spent_hint(rows)}"


def spent_hint(rows: CurveRows) -> str:
    """What to do about rounds without an advantage, by the reward that the last one earned."""
    reward = rows[-1]["reward_mean"]
    if reward is None:
        return "No answer was scored: look at the verdicts in the round's file."
    if reward > 0.5:
        return f"Answers earn {reward:.2f} on average: the problems are solved; give harder ones, or end the run here."
    return (
        f"Answers earn {reward:.2f} on average: the problems are too hard; give easier ones, more answers a group, "
        "or teach the model by fine-tuning before."
    )


_CONDITIONS: Mapping[AlarmName, Callable[[CurveRows, AlarmConfig], str | None]] = {
    "entropy_collapse": _entropy_collapse,
    "length_runaway": _length_runaway,
    "format_hacking": _format_hacking,
    "reward_without_dev_gain": _reward_without_dev_gain,
    "no_advantage": _no_advantage,
    "pool_spent": _pool_spent,
}
