"""Which files a location names: one, all in a folder, those of a pattern, or several of these.

In: a location. Out: paths, in an order that does not hang on the machine. ``a.jsonl``; ``folder/**``: every file of
rows in it, at any depth; ``data/*.parquet``; several, separated by ``|``. Among several, ``%7C`` stands for a ``|`` of
a name and ``%25`` for a ``%``, and ``folder`` for ``folder/**``.
"""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from spiritsafe.core.errors import SourceError, TaskError
from spiritsafe.core.files.tables import ENDINGS
from spiritsafe.tasks.data.layout import is_data_file

_SEPARATOR = "|"
_WILD = ("*", "[")
_ALL = "/**"
_MOST_FOLDERS = 100_000


def location_of(paths: Sequence[Path | str]) -> str:
    """The location of some files, patterns, and all that is in some folders.

    Raises:
        TaskError: There are none.
    """
    if not paths:
        raise TaskError("No file was named.", hint="Name at least one file or folder.")
    names = [f"{str(path).rstrip('/')}{_ALL}" if os.path.isdir(path) else str(path) for path in paths]
    if len(names) == 1:
        return names[0]
    return _SEPARATOR.join(name.replace("%", "%25").replace(_SEPARATOR, "%7C") for name in names)


def names_several(location: str) -> bool:
    """Whether a location is a pattern, or more than one."""
    return any(sign in location for sign in (_SEPARATOR, *_WILD)) and not Path(location).exists()


def files_of(location: str) -> list[Path]:
    """The files of a location.

    Raises:
        SourceError: A part of it names no file.
    """
    parts = [location]
    if _SEPARATOR in location and not Path(location).exists():
        parts = [unquote(part) for part in location.split(_SEPARATOR) if part]
    found = [path for part in parts for path in _files(part)]
    return list(dict.fromkeys(found))


def names_in(folder: Path) -> list[str]:
    """Of all files in a folder, at any depth, with ``/`` between folders; hidden folders are somebody else's."""
    found: list[str] = []
    for root, folders, files in itertools.islice(os.walk(folder), _MOST_FOLDERS):  # it follows no links
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [(Path(root) / name).relative_to(folder).as_posix() for name in files]
    return sorted(found)


def _files(part: str) -> list[Path]:
    path = Path(part)
    folder = path if path.is_dir() else Path(part.removesuffix(_ALL) or "/")
    if folder.is_dir() and (folder == path or part.endswith(_ALL)):
        found = [folder / name for name in names_in(folder) if is_data_file(name)]
        if not found:
            raise SourceError(
                f"There are no data files in the folder {folder}.",
                hint=f"Put files into it whose names end in {', '.join(ENDINGS)}; or name one file.",
            )
        return found
    if any(sign in part for sign in _WILD) and not path.exists():
        matched = sorted(Path(name) for name in glob.glob(part, recursive=True))
        found = [inner for inner in matched if inner.is_file()]
        if not found:
            raise SourceError(f"No file is called like {part}.", hint="Check the pattern, or name the files.")
        return found
    return [path]
