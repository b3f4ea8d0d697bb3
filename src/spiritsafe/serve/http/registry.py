"""The interfaces that there are: the files of :mod:`spiritsafe.serve.api`, each with an ``INTERFACE``."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from spiritsafe.serve import api
from spiritsafe.serve.interface import Interface


@cache
def interfaces() -> tuple[Interface, ...]:
    """All of them, by path."""
    modules = [importlib.import_module(f"{api.__name__}.{found.name}") for found in pkgutil.iter_modules(api.__path__)]
    return tuple(sorted((module.INTERFACE for module in modules), key=lambda interface: str(interface.path)))
