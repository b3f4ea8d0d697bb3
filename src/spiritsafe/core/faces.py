"""Faces of rooms: what a room shows to others, each name loaded when it is first asked for.

A room's ``__init__`` imports its public names under ``if TYPE_CHECKING:``, where type checkers and import contracts
read them; at run time :func:`attributes_of` reads the same lines, so there is one list, and a command that needs one
function of a room does not load all of it.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from typing import Any

from spiritsafe.core.process.gc_pause import rare_collections


def attributes_of(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` (PEP 562) of a face, by the imports that stand in its source."""
    places: dict[str, str] = {}

    def find(name: str) -> Any:
        if not places:
            places.update(_imports_of(package))
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with rare_collections():  # what is loaded stays
            value = getattr(importlib.import_module(places[name]), name)
        setattr(sys.modules[package], name, value)  # the next look finds it without asking
        return value

    def names() -> list[str]:
        module = sys.modules[package]
        return sorted({*vars(module), *module.__all__})

    return find, names


def _imports_of(package: str) -> dict[str, str]:
    """Which module each name is imported from, by the source of the package's ``__init__``."""
    spec = sys.modules[package].__spec__
    loader: Any = spec.loader if spec is not None else None
    tree = ast.parse(loader.get_source(package))
    return {
        name.asname or name.name: node.module or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 0
        for name in node.names
    }
