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
from spiritsafe.assist.opening import Opening, UnusableFile
from spiritsafe.assist.python.environment import PythonEnvironment
from spiritsafe.assist.subject import Subject
from spiritsafe.core.errors import RecipeError, SourceError, TaskError


@cache
def _modules() -> dict[str, Any]:
    """Of all languages, by the suffixes of their files."""
    found: dict[str, Any] = {}
    for file in pkgutil.iter_modules(languages.__path__):
        module = importlib.import_module(f"{languages.__name__}.{file.name}")
        found |= dict.fromkeys(module.SUFFIXES, module)
    return found


def subjects_at(
    path: Path, *, most_mutants: int, seed: int, python: PythonEnvironment | None = None
) -> list[Subject | UnusableFile]:
    """What there is to test in a file, or in a folder and all folders in it; of a folder also what cannot be tested.

    Args:
        path: Where.
        most_mutants: Of each file; more are drawn from, evenly over its lines.
        seed: Of the draw.
        python: What runs Python files; spiritsafe's own when left out.

    Raises:
        SourceError: It is not there.
        RecipeError: An environment is named, and there is no Python file.
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
    of_python = known[".py"]
    if python is not None and of_python not in modules:
        raise RecipeError(f"--python says nothing of {path}: there is no Python in it.", hint="Leave it out.")

    def opened(module: Any) -> list[Subject | UnusableFile]:
        more = {"python": python} if module is of_python else {}
        found: list[Subject | UnusableFile] = module.open_subjects(path, most_mutants=most_mutants, seed=seed, **more)
        return found

    if len(modules) == 1:
        return opened(modules[0])
    found: list[Subject | UnusableFile] = []
    for module in modules:
        opening = Opening(path, module.__name__.rpartition(".")[2])
        found += [one for some in opening.each([module], lambda _: path, opened) for one in some]
        found += opening.unusable
    return found
