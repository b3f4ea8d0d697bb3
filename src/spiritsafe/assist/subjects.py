"""Files that shall have tests, in any language that has a module in ``languages/``.

In: a file or a folder. Out: its subjects. A language's module has ``SUFFIXES`` and ``open_subjects``; a new language is
a new file.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from typing import Any

from spiritsafe.assist import languages
from spiritsafe.assist.subject import Subject
from spiritsafe.core.errors import SourceError, TaskError


@cache
def _modules() -> dict[str, Any]:
    """Of all languages, by the suffixes of their files."""
    found: dict[str, Any] = {}
    for file in pkgutil.iter_modules(languages.__path__):
        module = importlib.import_module(f"{languages.__name__}.{file.name}")
        found |= dict.fromkeys(module.SUFFIXES, module)
    return found


def subjects_at(path: Path, *, most_mutants: int, seed: int) -> list[Subject]:
    """What there is to test in a file, or in a folder and all folders in it.

    Args:
        path: Where.
        most_mutants: Of each file; more are drawn from, evenly over its lines.
        seed: Of the draw.

    Raises:
        SourceError: It is not there.
        TaskError: There is no code of a known language, or code that cannot be tested; it says why.
        SandboxMissingError: There is none here.
    """
    known = _modules()
    if path.is_dir():
        suffixes = {file.suffix for file in path.rglob("*") if file.is_file()}
        modules = list(dict.fromkeys(module for suffix, module in known.items() if suffix in suffixes))
    elif not path.exists():
        raise SourceError(f"{path} is not there.", hint="Check the path.")
    else:
        modules = [known[path.suffix]] if path.suffix in known else []
    if not modules:
        raise TaskError(
            f"{path} {'has no files' if path.is_dir() else 'is no file'} of a language that is known here.",
            hint=f"Give a file, or a folder with files, whose names end with {', '.join(sorted(known))}.",
        )
    return [one for module in modules for one in module.open_subjects(path, most_mutants=most_mutants, seed=seed)]
