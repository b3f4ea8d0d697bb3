"""Modules of the project out of memory: the one under test as code that is there once, the others as they are on disk.

In: code of modules, by their dotted names. Out: a finder that Python asks first. Of the module under test there is no
text and no file, and once it is imported its code is nowhere but in its functions.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Collection, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path


class _Loader(SourceFileLoader):
    """As that of a file, with the code at hand."""

    def __init__(self, name: str, path: str, codes: dict[str, types.CodeType]) -> None:
        super().__init__(name, path)
        self._codes = codes

    def get_code(self, fullname: str) -> types.CodeType | None:
        """The code, once."""
        return self._codes.pop(fullname, None)

    def get_source(self, fullname: str) -> str | None:
        """None: whoever writes a traceback asks for it."""
        return None


class ProjectFinder(MetaPathFinder):
    """Finds modules whose code it has.

    Args:
        codes: Code by name; what is imported is taken out.
        packages: Names of those that are packages.
    """

    def __init__(self, codes: dict[str, types.CodeType], packages: Collection[str]) -> None:
        self._codes = codes
        self._packages = packages

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        """Of a module that is still to be imported."""
        code = self._codes.get(fullname)
        if code is None:
            return None
        is_package, place = fullname in self._packages, code.co_filename
        spec = ModuleSpec(fullname, _Loader(fullname, place, self._codes), origin=place, is_package=is_package)
        spec.has_location = True
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(str(Path(place).parent))
        return spec


def forget_modules(tops: Collection[str]) -> None:
    """Let modules be imported anew, by the names of their outermost packages."""
    for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
        del sys.modules[name]


def loaded_sources(root: str, apart: str) -> dict[str, str]:
    """Modules of the project that are imported, and their files.

    Args:
        root: The folder that the project is in.
        apart: The file of the module under test, which is none of them.
    """
    found = {}
    for name, module in list(sys.modules.items()):
        place = getattr(module, "__file__", None)
        if isinstance(place, str) and place.startswith(f"{root}/") and place.endswith(".py") and place != apart:
            found[name] = place
    return found
