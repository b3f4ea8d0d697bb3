"""Where a Python file belongs: the folder that it is imported from, its dotted name, and what it can lean on.

In: a path. Out: a :class:`PythonModule`, or the modules of a whole project. Folders without ``__init__.py`` are no
packages here; what the project leans on is looked for where its Python looks for it.
"""

from __future__ import annotations

import ast
import keyword
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import final

from spiritsafe.assist.python.environment import PythonEnvironment, own_environment
from spiritsafe.core.errors import TaskError

_MOST_BYTES = 32 << 20
_OWN_VERSION = ".".join(map(str, sys.version_info[:2]))
_NO_MODULES = {"setup.py", "conftest.py", "noxfile.py", "__main__.py"}
_NO_FOLDERS = {
    "test",
    "tests",
    "testing",
    "doc",
    "docs",
    "example",
    "examples",
    "build",
    "dist",
    "node_modules",
    "venv",
}


@final
@dataclass(frozen=True)
class PythonModule:
    """A file that can be imported.

    Attributes:
        path: The file.
        root: The folder that it is imported from.
        name: Its dotted name.
        source: Its text.
        environment: The Python that imports it.
    """

    path: Path
    root: Path
    name: str
    source: str
    environment: PythonEnvironment = field(default_factory=own_environment)

    @property
    def is_package(self) -> bool:
        """Whether it is a package's ``__init__.py``."""
        return self.path.name == "__init__.py"

    @property
    def place(self) -> str:
        """Its path below the root."""
        return self.path.relative_to(self.root).as_posix()

    @cached_property
    def tops(self) -> tuple[str, ...]:
        """Outermost names of the project: those beside it, unless it stands among installed packages."""
        own = self.name.partition(".")[0]
        if self.root in self.environment.libraries:
            return (own,)
        return tuple(sorted({own} | {_stem(path.name) for path in self.root.iterdir() if _is_of_project(path)}))

    def files(self) -> dict[str, bytes]:
        """Files of the project, by their paths below the root, without this one.

        Raises:
            TaskError: There are too many.
        """
        found: dict[str, bytes] = {}
        size = 0
        for path in self.root.iterdir():
            if _stem(path.name) in self.tops and (path.is_file() or (path / "__init__.py").is_file()):
                for file in [path] if path.is_file() else sorted(path.rglob("*")):
                    if file == self.path or "__pycache__" in file.parts or not file.is_file():
                        continue
                    size += file.stat().st_size
                    if size > _MOST_BYTES:
                        raise TaskError(
                            f"The project at {self.root} has more than {_MOST_BYTES >> 20} MB of files.",
                            hint="Move data out of its packages, or name a file in a smaller folder.",
                        )
                    found[file.relative_to(self.root).as_posix()] = file.read_bytes()
        return found


def _stem(name: str) -> str:
    return name.partition(".")[0]


def _is_of_project(path: Path) -> bool:
    """Whether what stands in a root can be imported, and is neither tests nor tools."""
    if path.is_dir():
        return (path / "__init__.py").is_file() and path.name not in _NO_FOLDERS
    is_module = path.suffix in (".py", ".so", ".pyd") and not _is_test(path)
    return is_module and _stem(path.name).isidentifier()


def _is_test(path: Path) -> bool:
    return path.name in _NO_MODULES or path.stem.startswith("test_") or path.stem.endswith("_test")


def python_module(path: Path, environment: PythonEnvironment | None = None) -> PythonModule:
    """A file, where it belongs.

    Args:
        path: The file.
        environment: The Python that imports it; spiritsafe's own when left out.

    Raises:
        TaskError: There is none, or it cannot be imported.
    """
    path = path.resolve()
    try:
        with tokenize.open(path) as file:
            source = file.read()
        ast.parse(source)
    except OSError as error:
        raise TaskError(f"{path} cannot be read: {error.strerror}.", hint="Check the path.") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        hint = f"Name a file that Python {_OWN_VERSION} can read, in which spiritsafe runs."
        raise TaskError(f"{path} is not Python: {error}.", hint=hint) from None
    parts = [] if path.name == "__init__.py" else [path.stem]
    root = path.parent
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    if bad := [part for part in parts if not part.isidentifier() or keyword.iskeyword(part)]:
        raise TaskError(
            f"{path} cannot be imported: {bad[0]!r} is no name in Python.", hint="Rename it, or test a module it calls."
        )
    return PythonModule(path, root, ".".join(parts), source, environment or own_environment())


def project_files(folder: Path) -> list[Path]:
    """The modules of a project, or of a package: all that can be imported, but no tests, tools, documents, examples.

    Raises:
        TaskError: There are none.
    """
    folder = folder.resolve()
    if (folder / "__init__.py").is_file():
        found = sorted(_modules_below(folder))
    else:
        source = folder / "src"
        roots = [source] if source.is_dir() and not (source / "__init__.py").is_file() else [folder]
        found = sorted(
            module
            for root in roots
            for path in root.iterdir()
            if _is_of_project(path)
            for module in (_modules_below(path) if path.is_dir() else [path] if path.suffix == ".py" else [])
        )
    if not found:
        raise TaskError(
            f"There are no Python modules in {folder}.", hint="Name a file, or the folder of a project or a package."
        )
    return found


def _modules_below(package: Path) -> Iterator[Path]:
    for path in package.iterdir():
        if path.is_dir() and (path / "__init__.py").is_file() and path.name not in _NO_FOLDERS:
            yield from _modules_below(path)
        elif path.suffix == ".py" and not _is_test(path) and path.stem.isidentifier():
            yield path
