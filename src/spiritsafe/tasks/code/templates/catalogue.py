"""All templates: whatever the modules of ``themes`` define. A new one is a function in one of them, or a new module.

In: nothing. Out: the templates by name, in the order of their levels.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from spiritsafe.tasks.code.templates.template import Template

_THEMES = "spiritsafe.tasks.code.templates.themes"


@cache
def templates() -> dict[str, Template]:
    """By name, the easy ones first."""
    names = sorted(found.name for found in pkgutil.iter_modules([str(Path(__file__).parent / "themes")]))
    modules = [importlib.import_module(f"{_THEMES}.{name}") for name in names]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Template)]
    return {item.name: item for item in sorted(found, key=lambda item: (item.level, item.name))}
