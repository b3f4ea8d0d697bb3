"""What ``measure`` steps found, in words and units: a share in percent, a loss in nats or bits.

In: a :class:`~spiritsafe.report.data.measured.Measured`. Out: plain text for page and terminal.
"""

from __future__ import annotations

from spiritsafe.report.data.measured import Measured
from spiritsafe.report.numbers import (
    change_range,
    change_value,
    count_text,
    nats_change_range,
    nats_change_value,
    nats_range,
    nats_value,
    score_range,
    score_value,
)
from spiritsafe.stats import Estimate

PRACTICE = "Practice, never a certificate"


def what_words(one: Measured) -> str:
    """``negative log-likelihood, nats a token``."""
    if one.what == "accuracy":
        return "accuracy, % of problems"
    if one.what == "nll":
        return f"negative log-likelihood, {one.unit}"
    return f"KL to {one.what.removeprefix('kl:')}, {one.unit}"


def measured_value(one: Measured) -> tuple[str, str]:
    """The value and its interval."""
    if one.unit == "share":
        return score_value(one.value), score_range(one.value)
    return nats_value(one.value), nats_range(one.value)


def measured_difference(one: Measured, difference: Estimate) -> tuple[str, str]:
    """The same of the difference: points for shares."""
    if one.unit == "share":
        return change_value(difference), change_range(difference)
    return nats_change_value(difference), nats_change_range(difference)


def count_words(one: Measured) -> str:
    """``80 000 tokens``."""
    return f"{count_text(one.count)} {one.counted}"
