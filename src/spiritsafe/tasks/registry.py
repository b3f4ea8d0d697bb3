"""The list of task families and the way from a spec to a Task.

In: a spec. Out: a Task. A family's module is imported only when one of its tasks is asked for, by name, so that a
family may stand on an optional package.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, final

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Record
from spiritsafe.tasks.spec import nearest, parse_spec
from spiritsafe.tasks.task import Task

__all__ = ["QUICKSTART_SPECS", "FamilyInfo", "list_families", "load_task"]

QUICKSTART_SPECS = (
    "arith:sums?terms=2-3&digits=1-2",
    "arith:sums?terms=2-3&digits=1-2&negative=true",
    "arith:sums?terms=2&digits=1-2",
)
"""Tasks on which a very small model visibly learns within minutes; the first is the one to start with."""


class FamilyInfo(Record):
    """One line of the list of families.

    Attributes:
        spec: How to ask for it: ``arith:sums``, ``gym:gcd``, ``math:<path or org/name>``.
        description: What its problems are.
        source: Where its problems come from.
        refused: Why it cannot be used; None when it can.
    """

    spec: str
    description: str
    source: str
    refused: str | None = None


@final
@dataclass(frozen=True, slots=True)
class _Family:
    module: str
    source: str


_FAMILIES = {
    "arith": _Family("spiritsafe.tasks.arith", "spiritsafe"),
    "gym": _Family("spiritsafe.tasks.gym", "reasoning-gym"),
    "math": _Family("spiritsafe.tasks.mathematics", "your file or a Hugging Face data set"),
    "choice": _Family("spiritsafe.tasks.choice", "your file"),
}


def load_task(spec: str) -> Task:
    """The task of a spec such as ``arith:sums?terms=2-3&digits=1-2``; a task's own name is a spec too.

    Raises:
        TaskError: The spec is malformed, its family unknown or refused, a knob unknown or out of range, or an optional
            package missing.
        SourceError: A data file cannot be read.
    """
    parsed = parse_spec(spec)
    family = _FAMILIES.get(parsed.family)
    if family is None:
        raise TaskError(
            f'There is no task family "{parsed.family}".',
            hint=f"{nearest(parsed.family, _FAMILIES)}Families: {', '.join(_FAMILIES)}.",
        )
    module: Any = importlib.import_module(family.module)
    task: Task = module.build(parsed)
    return task


def list_families() -> list[FamilyInfo]:
    """Every family, usable or refused; imports no optional package."""
    arith: Any = importlib.import_module(_FAMILIES["arith"].module)
    gym: Any = importlib.import_module("spiritsafe.tasks.gym")
    return [
        *(FamilyInfo(spec=f"arith:{n}", description=d, source=_FAMILIES["arith"].source) for n, d in arith.describe()),
        FamilyInfo(
            spec="math:<path or org/name>",
            description="questions with answers, graded as values by math-verify; GSM8K works as it is",
            source=_FAMILIES["math"].source,
        ),
        FamilyInfo(spec="choice:<path>", description="multiple choice", source=_FAMILIES["choice"].source),
        *(
            FamilyInfo(spec=f"gym:{name}", description=text, source=_FAMILIES["gym"].source, refused=refused)
            for name, text, refused in gym.describe()
        ),
    ]
