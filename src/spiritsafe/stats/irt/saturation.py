"""Is a paper worn out? Problems that everybody solves tell nothing any more.

In: the sittings of one paper and the bank learned from them. Out: :class:`Saturation` with a plain warning.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from spiritsafe.core.errors import NumericalError
from spiritsafe.core.records import Record
from spiritsafe.stats.irt.model import ItemBank, estimate_ability, information

MOST_SOLVED = 0.5
"""A paper of which every student solves this share is worn out."""

LEAST_INFORMATION = 0.25
"""So is one that tells this part, or less, about its strongest student of what it tells about the middle one: the
standard error has doubled."""


class Saturation(Record):
    """What a paper still tells.

    Attributes:
        solved_by_all: Share of the problems that every student got right in every try.
        solved_by_none: Share that no student ever got right.
        information_at_top: Test information at the strongest student's ability over that at the middle one's.
        saturated: The paper should be refilled with harder problems.
        statement: The finding in plain words.
    """

    num_problems: int
    num_students: int
    solved_by_all: float
    solved_by_none: float
    information_at_top: float
    saturated: bool
    statement: str


def watch_saturation(bank: ItemBank, right_SI: npt.ArrayLike, asked_SI: npt.ArrayLike = 1) -> Saturation:
    """Look whether a paper still tells its strongest students apart.

    Args:
        bank: Learned from these or earlier sittings of the same problems.
        right_SI: Right answers, one row a student, one column a problem.
        asked_SI: Times asked; 0 where a student did not get a problem.

    Raises:
        NumericalError: The counts are impossible or of other problems.
    """
    right = np.asarray(right_SI, dtype=np.float64)
    if right.ndim != 2 or right.shape[1] != len(bank.names) or right.shape[0] == 0:
        raise NumericalError(
            f"Counts of shape {right.shape} for {len(bank.names)} problems.",
            hint="Give one row a student, one column a problem.",
        )
    asked = np.broadcast_to(np.asarray(asked_SI, dtype=np.float64), right.shape)
    was_asked = asked.sum(axis=0) > 0
    by_all = int(((right == asked).all(axis=0) & was_asked).sum())
    by_none = int(((right == 0).all(axis=0) & was_asked).sum())
    abilities = [estimate_ability(bank, r, n).value for r, n in zip(right, asked, strict=True)]
    told = information(bank, [float(np.max(abilities)), float(np.median(abilities))]).sum(axis=1)
    at_top = float(told[0] / told[1])
    num = right.shape[1]
    saturated = by_all >= MOST_SOLVED * num or at_top <= LEAST_INFORMATION
    advice = " The paper is worn out: add harder problems." if saturated else ""
    return Saturation(
        num_problems=num,
        num_students=right.shape[0],
        solved_by_all=by_all / num,
        solved_by_none=by_none / num,
        information_at_top=at_top,
        saturated=saturated,
        statement=f"{by_all} of {num} problems were solved by each of {right.shape[0]} students, {by_none} by none. "
        f"About the strongest student the paper tells {at_top:.0%} of what it tells about the middle one "
        f"(standard error × {1 / math.sqrt(at_top):.1f}).{advice}",
    )
