"""The Python that runs a project's tests: that of spiritsafe, or another one that its user names.

In: an interpreter, of a virtual environment or not. Out: where it finds its library and what is installed for it, and
what of that a sandbox has to show. An interpreter that is named is started once, outside of the sandbox, as its owner
would start it, and only says where it looks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import final

from pydantic import BaseModel, ConfigDict, ValidationError

from spiritsafe.core.errors import TaskError
from spiritsafe.core.process.environment import child_environment
from spiritsafe.tasks import interpreter, python_folders

OLDEST_PYTHON = (3, 9)
"""What runs inside is written for it, and so is the pytest that it needs."""
_START_S = 60.0
_PYTESTS = {"pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "exceptiongroup", "tomli"}
"""What pytest cannot do without, beside single files."""
_ASK = """import json, os, sys, sysconfig
try:
    import pytest
    found = [int(part) for part in pytest.__version__.split(".")[:2]]
except Exception:
    found = []
print("\\n" + json.dumps({
    "version": list(sys.version_info[:3]),
    "implementation": sys.implementation.name,
    "pytest": found,
    "executable": os.path.realpath(sys.executable),
    "prefixes": [sys.base_prefix, sys.base_exec_prefix],
    "library": [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")],
    "paths": [path for path in sys.path if path],
}))
"""
_OLDEST_PYTEST = (8, 0)


@final
@dataclass(frozen=True, slots=True)
class PythonEnvironment:
    """A Python and what is installed for it.

    Attributes:
        named: As its user names it; None: spiritsafe's own.
        executable: The interpreter itself, without a virtual environment.
        version: Of it, in three numbers.
        libraries: Where it finds what is no part of it.
        own: Folders of its own library that a sandbox does not show by itself.
    """

    named: Path | None
    executable: Path
    version: tuple[int, ...]
    libraries: tuple[Path, ...]
    own: tuple[str, ...]

    def readable_parts(self, tops: Sequence[str]) -> tuple[str, ...]:
        """What a sandbox has to show beside what it shows anyway, without some outermost names of modules.

        What pytest itself needs is shown even so; whoever opens the file under test there is ended.
        """
        found: list[str] = list(self.own)
        shown = [Path("/usr"), *map(Path, (*python_folders(), *self.own))]
        for folder in self.libraries:
            if any(folder.is_relative_to(one) for one in shown):
                continue
            parts = sorted(folder.iterdir())
            hidden = [part for part in parts if part.name.partition(".")[0] in {*tops} - _PYTESTS]
            if hidden:
                found += [
                    str(part) for part in parts if part not in hidden and part.name != "__pycache__" and part.exists()
                ]
            else:
                found.append(str(folder))
        return tuple(found)


def own_environment() -> PythonEnvironment:
    """The one that runs spiritsafe."""
    library = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    return PythonEnvironment(None, interpreter(), sys.version_info[:3], _libraries(sys.path, library), ())


def _libraries(paths: Sequence[str], library: Sequence[str]) -> tuple[Path, ...]:
    """Of the places where a Python looks, those that are no part of it."""
    own = {os.path.realpath(path) for path in library}
    own |= {os.path.join(folder, "lib-dynload") for folder in own}
    places = dict.fromkeys(os.path.realpath(path) for path in paths if path)
    return tuple(Path(path) for path in places if os.path.isdir(path) and path not in own)


class _Said(BaseModel):
    """What an interpreter says of itself."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: list[int]
    implementation: str
    pytest: list[int]
    executable: str
    prefixes: list[str]
    library: list[str]
    paths: list[str]


@cache
def environment_of(python: Path) -> PythonEnvironment:
    """That of an interpreter.

    Raises:
        TaskError: It is none, or too old, or has no pytest.
    """
    said = _asked(python)
    version = ".".join(map(str, said.version))
    if said.implementation != "cpython" or tuple(said.version[:2]) < OLDEST_PYTHON:
        raise TaskError(
            f"{python} is {said.implementation} {version}, in which tests cannot be run here.",
            hint=f"Name a CPython of {'.'.join(map(str, OLDEST_PYTHON))} or newer.",
        )
    if tuple(said.pytest) < _OLDEST_PYTEST:
        has = f"pytest {'.'.join(map(str, said.pytest))}, which is too old" if said.pytest else "no pytest"
        raise TaskError(
            f"{python} has {has}.",
            hint=f"Install it there: {python} -m pip install 'pytest>={'.'.join(map(str, _OLDEST_PYTEST))}'",
        )
    folders = dict.fromkeys(os.path.realpath(path) for path in (*said.prefixes, os.path.dirname(said.executable)))
    shown = [Path("/usr"), *map(Path, python_folders())]
    outside = [path for path in folders if not any(Path(path).is_relative_to(one) for one in shown)]
    own = [path for path in outside if not any(path != one and Path(path).is_relative_to(one) for one in outside)]
    libraries = _libraries(said.paths, said.library)
    return PythonEnvironment(python, Path(said.executable), tuple(said.version), libraries, tuple(own))


def _asked(python: Path) -> _Said:
    no_python = TaskError(
        f"{python} is no Python that can be run.",
        hint="Give --python the interpreter of an environment, such as .venv/bin/python.",
    )
    if not python.is_file():
        raise no_python
    try:
        done = subprocess.run(
            [os.path.abspath(python), "-B", "-c", _ASK],
            env=child_environment(),
            cwd="/",  # the first place where it looks for modules
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_START_S,
            check=True,
        )
        last = done.stdout.decode("utf-8").rstrip().rpartition("\n")[2]
        return _Said.model_validate(json.loads(last))
    except (OSError, ValueError, ValidationError, subprocess.SubprocessError, RecursionError):
        raise no_python from None
