"""Shorter sittings: problems chosen by past sittings, and the score that they predict for the whole sealed half.

In: an :class:`~spiritsafe.stats.irt.model.ItemBank` of a paper's sealed half. Out: :class:`ChosenProblems`, registered
before the sitting, and :class:`PredictedScore` after it. The problems are all chosen beforehand, or one after the other
by the answers so far (adaptive). Only sealed ones are: answers to public ones would lift the ability of who studied
them, and the prediction is of the sealed half.

The share of right answers among chosen problems is no score of the paper, for they were picked for their difficulty.
The ability is, as far as the item model holds: a problem that is hard for past models is hard for this one too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.records import Digest, Record, omit_default
from spiritsafe.stats.intervals import Estimate, Floats
from spiritsafe.stats.irt.model import Ability, ItemBank, chances, estimate_ability
from spiritsafe.stats.irt.selection import follows_adaptively, follows_greedily, next_problem, shorter_paper

CHOSEN_METHOD = "of chosen problems, not the paper's score"
"""What every accuracy of a shorter sitting adds to its method."""

_ABILITIES_BETWEEN = 9  # the choice is as precise at these, over the range it is made for
_Z95 = 1.959963984540054


class ChosenProblems(Record):
    """What a shorter sitting asks, and how it was chosen.

    Attributes:
        items: Digest of the :class:`~spiritsafe.exam.records.items.PaperItems` that it was chosen by.
        places: Of the chosen problems in the paper's bank, in the order in which they are asked; none where the sitting
            chooses them.
        num_fixed: Problems of the random paper that is as precise.
        bank: Difficulties of the whole sealed half, whose names are its places, ascending.
        lowest: The problems were chosen for abilities from here ...
        highest: ... to here: those of the middle half of past models.
        adaptive: Each problem is chosen by the answers to those before it, for whatever ability they show.
    """

    items: Digest
    places: tuple[int, ...]
    num_fixed: int = Field(ge=1)
    bank: ItemBank
    lowest: float
    highest: float
    adaptive: bool = omit_default(False)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        names = [int(name) for name in self.bank.names if name.isdigit()]
        if [str(name) for name in sorted(set(names))] != list(self.bank.names):
            raise ValueError("the bank's names are not ascending places")
        if len(set(self.places)) != len(self.places) or not set(self.places) <= set(names):
            raise ValueError("a chosen place is doubled or not in the bank")
        if bool(self.places) == self.adaptive:
            raise ValueError("problems are chosen beforehand or by the answers, and not both")
        if self.lowest > self.highest:
            raise ValueError("the abilities are the wrong way round")
        return self

    @property
    def by_name(self) -> dict[int, int]:
        """Where each place stands in the bank."""
        return {int(name): number for number, name in enumerate(self.bank.names)}


class PredictedScore(Record):
    """What the answers to chosen problems say of the whole sealed half.

    Attributes:
        ability: On the scale of past models, with its standard error.
        score: Expected share of right answers on the whole sealed half at that ability; its interval is that of the
            ability (95 %). That of the difficulties is not in it.
        num_sittings: Past sittings that the difficulties were learned from.
    """

    ability: Ability
    score: Estimate
    num_sittings: int = Field(ge=1)
    statement: str


def _between(lowest: float, highest: float) -> list[float]:
    return [float(value) for value in np.linspace(lowest, highest, _ABILITIES_BETWEEN)]


def choose_problems(
    bank: ItemBank, num_fixed: int, *, lowest: float, highest: float, items: str, adaptive: bool = False
) -> ChosenProblems:
    """Choose the fewest problems of a sealed half that tell as much as ``num_fixed`` of it drawn at random.

    Args:
        bank: Of the sealed half; its names are places.
        num_fixed: Length of the random paper that is to be matched.
        lowest: Abilities from here ...
        highest: ... to here are measured as precisely.
        items: Digest of where the bank is from.
        adaptive: Leave the choice to the sitting.

    Raises:
        NumericalError: The half does not hold so many problems.
    """
    places = () if adaptive else shorter_paper(bank, num_fixed, abilities=_between(lowest, highest)).places
    return ChosenProblems(
        items=items,
        places=tuple(int(bank.names[place]) for place in places),
        num_fixed=num_fixed,
        bank=bank,
        lowest=lowest,
        highest=highest,
        adaptive=adaptive,
    )


def is_choice(chosen: ChosenProblems) -> bool:
    """Whether the places are those that :func:`choose_problems` picks from this bank, ties and last bits aside."""
    where = chosen.by_name
    return follows_greedily(
        chosen.bank,
        [where[place] for place in chosen.places],
        chosen.num_fixed,
        abilities=_between(chosen.lowest, chosen.highest),
    )


def _counts(chosen: ChosenProblems, right: Mapping[int, int], trials: int) -> tuple[Floats, Floats]:
    """Right answers and answers of each problem of the half; several tries count as one answer, their mean."""
    where, size = chosen.by_name, len(chosen.bank.names)
    right_I, asked_I = np.zeros(size), np.zeros(size)
    for place, count in right.items():
        right_I[where[place]], asked_I[where[place]] = count / trials, 1
    return right_I, asked_I


def next_place(chosen: ChosenProblems, right: Mapping[int, int], *, trials: int = 1) -> int | None:
    """The place that an adaptive sitting asks next; None when it is over.

    Args:
        chosen: Adaptive.
        right: Right answers so far, by place.
    """
    place = next_problem(chosen.bank, *_counts(chosen, right, trials), num_fixed=chosen.num_fixed)
    return None if place is None else int(chosen.bank.names[place])


def is_adaptive_choice(
    chosen: ChosenProblems, asked: Sequence[int], right: Mapping[int, int], *, trials: int = 1, is_over: bool
) -> bool:
    """Whether an adaptive sitting with these answers asks these problems in this order, last bits aside.

    Args:
        asked: Places in the order in which they were asked.
        right: Right answers by place.
        is_over: Whether it had nothing more to ask behind the last.
    """
    where = chosen.by_name
    return set(asked) == right.keys() <= where.keys() and follows_adaptively(
        chosen.bank,
        [where[place] for place in asked],
        [right[place] / trials for place in asked],
        chosen.num_fixed,
        is_over=is_over,
    )


def predict_score(chosen: ChosenProblems, right: Mapping[int, int], *, trials: int = 1) -> PredictedScore:
    """The ability that answers to chosen problems show, and the score that goes with it.

    Several tries at a problem count as one answer, their mean: they are no independent ones.

    Args:
        right: Right answers by place; only of chosen problems, fewer where a budget ended the sitting.

    Raises:
        IntegrityError: A problem was answered that was not chosen.
    """
    if not right.keys() <= set(chosen.by_name if chosen.adaptive else chosen.places):
        raise IntegrityError("A problem was answered that was not chosen.", hint="Ask the examiner why it was asked.")
    ability = estimate_ability(chosen.bank, *_counts(chosen, right, trials))
    reach = _Z95 * ability.standard_error
    low, value, high = chances(chosen.bank, [ability.value - reach, ability.value, ability.value + reach]).mean(axis=1)
    score = Estimate(
        value=float(value),
        low=float(low),
        high=float(high),
        confidence=0.95,
        n=len(right),
        method=f"predicted by the item model ({chosen.bank.model}, {chosen.bank.num_sittings} past sittings)",
    )
    return PredictedScore(
        ability=ability,
        score=score,
        num_sittings=chosen.bank.num_sittings,
        statement=_statement(chosen, ability, score),
    )


def _statement(chosen: ChosenProblems, ability: Ability, score: Estimate) -> str:
    outside = ""
    if not chosen.adaptive and not chosen.lowest <= ability.value <= chosen.highest:
        outside = (
            f" Its ability lies outside the range that the problems were chosen for ({chosen.lowest:+.2f} to "
            f"{chosen.highest:+.2f}, the middle half of past models): the interval is wider for it."
        )
    return (
        f"Predicted, not measured: {score.value:.1%} ({score.low:.1%} to {score.high:.1%}) on the whole sealed half of "
        f"{len(chosen.bank.names)} problems, from an ability of {ability.value:+.2f} ± {ability.standard_error:.2f} "
        f"shown on {score.n} chosen ones. It rests on difficulties learned from {chosen.bank.num_sittings} past "
        "sittings and holds for a model that finds hard what they found hard; the interval does not cover that."
        f"{outside}"
    )
