"""Families of tasks: each is a file of ``tasks/families`` that says all of itself, found by its name.

In: a family's name. Out: its module, imported when it is asked for, so that a family may stand on an optional package.
The module (of a folder, its ``task.py``) has ``FAMILY``, a :class:`Family`, and ``build``: the Task of a spec.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, final

_FOLDER = "spiritsafe.tasks.families"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What a family says of itself.

    Attributes:
        place: Where it stands in the list.
        source: Where its problems come from.
        describe: Its tasks: how to ask for each, what it is, and why it is refused, or None.
        has_data: Its problems come from a file that the spec names: where the file lies moves no problem to another
            bucket, and a task's own name carries the file's digest.
        shares_splits: Its tasks pose the same problems in other ways: a problem is in one bucket in all of them.
        variant_mark: In a canonical text, what begins the part that only tells several answers to one prompt apart.
        parts: The specs that the name in its spec is made of; None where a spec is one task.
        graders: Names that a row of a private paper may give for its grader; of each the verifier and the hint to the
            model.
    """

    place: int
    source: str
    describe: Callable[[], Iterable[tuple[str, str, str | None]]]
    has_data: bool = False
    shares_splits: bool = False
    variant_mark: str = ""
    parts: Callable[[str], list[str]] | None = None
    graders: Mapping[str, tuple[Callable[[], Any], str]] = field(default_factory=dict)


@cache
def _modules() -> dict[str, str]:
    """By their names, the modules that may be families."""
    folder = str(Path(__file__).parent / "families")
    return {
        found.name: f"{_FOLDER}.{found.name}{'.task' if found.ispkg else ''}"
        for found in pkgutil.iter_modules([folder])
    }


def family_module(name: str) -> Any | None:
    """The module of a family; None if there is no such family."""
    place = _modules().get(name)
    module = importlib.import_module(place) if place is not None else None
    return module if module is not None and "FAMILY" in vars(module) else None


def families() -> dict[str, Family]:
    """All of them, by name, as they are listed."""
    found = {name: module.FAMILY for name in _modules() if (module := family_module(name)) is not None}
    return dict(sorted(found.items(), key=lambda item: item[1].place))
