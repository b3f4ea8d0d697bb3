"""What the exam's commands offer to choose from: grades, usual numbers, and the greatest."""

from __future__ import annotations

from typing import Literal

OutcomeStatus = Literal["correct", "wrong", "unparsed", "unscored", "refused", "truncated", "error"]

MOST_PROBLEMS = 100_000

MOST_OVERLAPS = 20
"""Each report says which of the files handed in hold sealed problems: who may ask without end finds them one by one."""

USUAL_DAYS = 30
"""So long a maker may be silent where nothing else is said."""
