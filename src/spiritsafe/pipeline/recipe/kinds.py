"""The kinds of things that a recipe can ask for: each is one file of :mod:`spiritsafe.pipeline.steps`.

In: the files there, read when the first recipe is. Out: classes by the table of the recipe that asks for them. A kind
that stands elsewhere plugs in with :func:`register_kind`, before recipes are read.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Annotated, Any, TypeVar, final

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema

from spiritsafe.pipeline.recipe.made import Made

_FILES = "spiritsafe.pipeline.steps"
KINDS: dict[type[Made], str] = {}
"""Each kind that is known, and the table of the recipe that asks for it."""

KindT = TypeVar("KindT", bound=type[Made])


@final
@dataclass(frozen=True)
class register_kind:  # it is a decorator
    """Make a class the kind, or one of the kinds, that a table of the recipe can be of."""

    table: str

    def __call__(self, kind: KindT) -> KindT:
        """Register."""
        KINDS[kind] = self.table
        return kind


def kinds_of(table: str) -> list[type[Made]]:
    """The kinds of one table, in the order of their names."""
    for file in pkgutil.walk_packages(importlib.import_module(_FILES).__path__, f"{_FILES}."):
        importlib.import_module(file.name)
    return sorted((kind for kind, of in KINDS.items() if of == table), key=lambda kind: kind.__name__)


def kind_names() -> dict[str, type[Made]]:
    """The kinds of steps by the name that a recipe gives them."""
    return {str(kind.model_fields["kind"].default): kind for kind in kinds_of("steps")}


@final
@dataclass(frozen=True)
class AnyOf:
    """Marks a field of the recipe that holds a table: it is read as whichever kind it says it is."""

    table: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The kinds that are known when the recipe's schema is built."""
        kinds = kinds_of(self.table)
        if len(kinds) == 1:
            return handler.generate_schema(kinds[0])
        return handler.generate_schema(Annotated[reduce(or_, kinds), Field(discriminator="kind")])
