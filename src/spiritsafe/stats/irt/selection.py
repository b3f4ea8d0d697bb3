"""Shorter papers with the same error: the problems that tell most about the students at hand.

In: an :class:`~spiritsafe.stats.irt.model.ItemBank`. Out: the next problem of an adaptive sitting
(:func:`next_problem`), or a short paper chosen once for all students (:func:`shorter_paper`), each as precise as a
paper of a given length drawn at random from the bank. Abilities are compared, not shares of right answers: a paper of
well-chosen problems is harder than its bank.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from spiritsafe.core.errors import NumericalError
from spiritsafe.core.records import Record
from spiritsafe.stats.intervals import Floats
from spiritsafe.stats.irt.model import ABILITY_GRID, ABILITY_SD, ItemBank, ability_posterior, information

_LAST_BITS = 1e-9  # machines may differ in the last bits of what a problem tells


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


def _best(useful_I: Floats) -> int:
    """The first of those that are best but for the last bits, so that every machine takes the same one.

    Problems that past students answered alike tell the same, and their order in the last bits differs by processor.
    """
    return int(np.flatnonzero(useful_I >= useful_I.max() - _LAST_BITS)[0])


def _check_number(bank: ItemBank, num_problems: int) -> None:
    if not 0 < num_problems <= len(bank.names):
        raise NumericalError(
            f"No paper of {num_problems} problems from a bank of {len(bank.names)}.",
            hint="Ask for at least one problem and at most the whole bank.",
        )


@lru_cache(maxsize=8)
def _random_problem(bank: ItemBank) -> Floats:
    """What a problem drawn at random tells at each ability of the grid."""
    return np.asarray(information(bank, ABILITY_GRID).mean(axis=1))


def _so_far(bank: ItemBank, right: npt.ArrayLike, asked: npt.ArrayLike, num_fixed: int) -> tuple[Floats, float]:
    """What each problem tells at the ability known so far, and by how much (relative) that is known too roughly."""
    posterior_Q = ability_posterior(bank, right, asked)
    mean = posterior_Q @ ABILITY_GRID
    wanted = num_fixed * float(posterior_Q @ _random_problem(bank)) + ABILITY_SD**-2
    return information(bank, mean), float(posterior_Q @ (ABILITY_GRID - mean) ** 2) * wanted - 1


def next_problem(bank: ItemBank, right: npt.ArrayLike, asked: npt.ArrayLike, *, num_fixed: int) -> int | None:
    """The problem that tells most at the ability known so far (Lord 1980, ch. 10).

    The sitting is over (None) when the ability is known as precisely as a random paper of ``num_fixed`` problems would
    show it, or the bank is used up. What such a paper tells differs by ability; its mean over all abilities that the
    answers so far leave open is taken, so that a first guess far off, where random problems tell little, ends nothing.

    Args:
        right: Right answers so far, one count a problem.
        num_fixed: Length of the random paper that is to be matched.

    Raises:
        NumericalError: The counts are impossible, or the bank does not hold ``num_fixed`` problems.
    """
    _check_number(bank, num_fixed)
    told_I, excess = _so_far(bank, right, asked, num_fixed)
    unasked = np.asarray(asked) == 0
    if excess <= 0 or not unasked.any():
        return None
    return _best(np.where(unasked, told_I, -1.0))


def follows_adaptively(
    bank: ItemBank, asked: Sequence[int], right: Sequence[float], num_fixed: int, *, is_over: bool
) -> bool:
    """Whether :func:`next_problem` could have asked these problems in this order, last bits aside.

    Args:
        asked: In the order in which they were asked.
        right: The answers to them, each from 0 to 1.
        is_over: Whether it had nothing more to ask behind the last.
    """
    _check_number(bank, num_fixed)
    right_I, asked_I = np.zeros(len(bank.names)), np.zeros(len(bank.names))
    for place, share in zip(asked, right, strict=True):
        told_I, excess = _so_far(bank, right_I, asked_I, num_fixed)
        most = np.where(asked_I == 0, told_I, -1.0).max()
        if asked_I[place] or excess < -_LAST_BITS or told_I[place] < most - _LAST_BITS:
            return False
        right_I[place], asked_I[place] = share, 1
    if asked_I.all():
        return is_over
    _, excess = _so_far(bank, right_I, asked_I, num_fixed)
    return excess <= _LAST_BITS if is_over else excess >= -_LAST_BITS


def shorter_paper(bank: ItemBank, num_fixed: int, *, abilities: Sequence[float]) -> ShorterPaper:
    """The fewest problems, picked greedily, that tell as much at each ability as ``num_fixed`` drawn at random.

    Chosen before the sitting, so that it can be committed to and registered as any paper.

    Args:
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
        places.append(_best(_gains(told_QI, wanted_Q, missing_Q, places)))
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
