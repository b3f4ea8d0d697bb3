"""Shorter papers with the same error: the problems that tell most about the students at hand.

In: an :class:`~spiritsafe.core.items.ItemBank`. Out: the next problem of an adaptive sitting
(:func:`next_problem`), or a short paper chosen once for all students (:func:`shorter_paper`), each as precise as a
paper of a given length drawn at random from the bank. Abilities are compared, not shares of right answers: a paper of
well-chosen problems is harder than its bank. Exercised by ``pytest tests/unit/core/test_adaptive.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spiritsafe.core.errors import NumericalError
from spiritsafe.core.items import ABILITY_SD, Ability, ItemBank, estimate_ability, information
from spiritsafe.core.records import Record

__all__ = ["ShorterPaper", "fixed_standard_error", "follows_greedily", "next_problem", "shorter_paper"]

Floats = npt.NDArray[np.float64]

_LAST_BITS = 1e-9  # machines may differ in the last bits of what a problem tells
_NEAR = np.linspace(-2.0, 2.0, 9)  # standard errors around the ability known so far


class ShorterPaper(Record):
    """Problems chosen beforehand in place of a longer paper.

    Attributes:
        places: Of the chosen problems in the bank, the most useful first.
        num_fixed: Problems of the random paper that is as precise.
        statement: The trade in plain words.
    """

    places: tuple[int, ...]
    num_fixed: int
    statement: str


def _check_number(bank: ItemBank, num_problems: int) -> None:
    if not 0 < num_problems <= len(bank.names):
        raise NumericalError(
            f"No paper of {num_problems} problems from a bank of {len(bank.names)}.",
            hint="Ask for at least one problem and at most the whole bank.",
        )


def fixed_standard_error(bank: ItemBank, ability: float, num_problems: int, *, trials: int = 1) -> float:
    """Standard error that a paper of ``num_problems`` drawn at random from the bank gives a student of this ability.

    Args:
        bank: The problems.
        ability: True ability.
        num_problems: Of the paper.
        trials: Times each problem is asked.

    Raises:
        NumericalError: The bank does not hold so many problems.
    """
    _check_number(bank, num_problems)
    expected = num_problems * trials * float(information(bank, ability).mean())
    return 1 / math.sqrt(expected + ABILITY_SD**-2)


def next_problem(
    bank: ItemBank, right: npt.ArrayLike, asked: npt.ArrayLike, *, num_fixed: int, trials: int = 1
) -> tuple[int | None, Ability]:
    """The problem that tells most at the ability known so far (Lord 1980, ch. 10), and that ability.

    The sitting is over (None) when the standard error is that which a random paper of ``num_fixed`` problems has at any
    ability within two standard errors (a first guess far off must not end it), or the bank is used up.

    Args:
        bank: The problems.
        right: Right answers so far, one count a problem.
        asked: Times each problem was asked so far.
        num_fixed: Length of the random paper that is to be matched.
        trials: Times a problem is asked.

    Raises:
        NumericalError: The counts are impossible, or the bank does not hold ``num_fixed`` problems.
    """
    ability = estimate_ability(bank, right, asked)
    near = ability.value + ability.standard_error * _NEAR
    wanted = min(fixed_standard_error(bank, at, num_fixed, trials=trials) for at in near.tolist())
    unasked = np.asarray(asked) == 0
    if ability.standard_error <= wanted or not unasked.any():
        return None, ability
    return int(np.where(unasked, information(bank, ability.value), -1.0).argmax()), ability


def shorter_paper(bank: ItemBank, num_fixed: int, *, abilities: Sequence[float]) -> ShorterPaper:
    """The fewest problems, picked greedily, that tell as much at each ability as ``num_fixed`` drawn at random.

    Chosen before the sitting, so that it can be committed to and registered as any paper.

    Args:
        bank: The problems.
        num_fixed: Length of the random paper that is to be matched.
        abilities: Of the students it is made for.

    Raises:
        NumericalError: No abilities, or the bank does not hold ``num_fixed`` problems.
    """
    _check_number(bank, num_fixed)
    if not abilities:
        raise NumericalError("A paper for no abilities.", hint="Give the abilities of the students it is made for.")
    told_QI = information(bank, list(abilities))
    wanted_Q = num_fixed * told_QI.mean(axis=1)
    missing_Q = wanted_Q.copy()
    places: list[int] = []
    while (missing_Q > 0).any() and len(places) < len(bank.names):  # the whole bank may miss the last bits
        places.append(int(_gains(told_QI, wanted_Q, missing_Q, places).argmax()))
        missing_Q = missing_Q - told_QI[:, places[-1]]
    return ShorterPaper(
        places=tuple(places),
        num_fixed=num_fixed,
        statement=f"{len(places)} chosen problems measure abilities from {min(abilities):+.1f} to "
        f"{max(abilities):+.1f} as precisely as {num_fixed} drawn at random from the bank of {len(bank.names)}.",
    )


def _gains(told_QI: Floats, wanted_Q: Floats, missing_Q: Floats, places: Sequence[int]) -> Floats:
    """What each problem that is not chosen yet would fill of what is missing."""
    use = np.minimum(told_QI, np.maximum(missing_Q, 0.0)[:, None]) / wanted_Q[:, None]
    gain_I: Floats = use.sum(axis=0)
    gain_I[list(places)] = -1.0
    return gain_I


def follows_greedily(bank: ItemBank, places: Sequence[int], num_fixed: int, *, abilities: Sequence[float]) -> bool:
    """Whether :func:`shorter_paper` could have chosen these places in this order.

    Where two problems tell equally much but for the last bits, either may come first: those bits differ by machine. So
    the last place may be any problem that fills what is missing; all others are fixed.

    Args:
        bank: The problems.
        places: What is to be checked.
        num_fixed: As for :func:`shorter_paper`.
        abilities: As for :func:`shorter_paper`.

    Raises:
        NumericalError: As for :func:`shorter_paper`.
    """
    _check_number(bank, num_fixed)
    told_QI = information(bank, list(abilities))
    wanted_Q = num_fixed * told_QI.mean(axis=1)
    missing_Q = wanted_Q.copy()
    for number, place in enumerate(places):
        if not (missing_Q > -_LAST_BITS * wanted_Q).any():
            return False  # enough was told before
        gain_I = _gains(told_QI, wanted_Q, missing_Q, places[:number])
        if gain_I[place] < gain_I.max() - _LAST_BITS:
            return False
        missing_Q = missing_Q - told_QI[:, place]
    return not (missing_Q > _LAST_BITS * wanted_Q).any()
