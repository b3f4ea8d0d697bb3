"""Where the files of a data set lie, as a spec says it: one file, a folder, a pattern, or several of these.

In: a location. Out: paths, in an order that does not hang on the machine. ``a.jsonl``; ``folder``: every file of rows
in it, at any depth; ``data/*.parquet``; several, separated by ``|``. Among several, ``%7C`` stands for a ``|`` of a
name and ``%25`` for a ``%``.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from spiritsafe.core.errors import SourceError, TaskError
from spiritsafe.core.files.tables import ENDINGS

_SEPARATOR = "|"
_WILD = ("*", "[")


def location_of(paths: Sequence[Path | str]) -> str:
    """The location of some files or folders.

    Raises:
        TaskError: There are none.
    """
    if not paths:
        raise TaskError("No file was named.", hint="Name at least one file or folder.")
    names = [str(path) for path in paths]
    if len(names) == 1:
        return names[0]
    return _SEPARATOR.join(name.replace("%", "%25").replace(_SEPARATOR, "%7C") for name in names)


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


def _files(part: str) -> list[Path]:
    path = Path(part)
    if path.is_dir():
        found = sorted(inner for inner in _below(path) if inner.name.lower().endswith(ENDINGS))
        if not found:
            raise SourceError(
                f"There are no data files in the folder {part}.",
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


def _below(folder: Path) -> Iterator[Path]:
    """Files of a folder and of the folders in it; hidden ones are somebody else's."""
    for inner in folder.iterdir():
        if inner.name.startswith("."):
            continue
        if inner.is_dir() and not inner.is_symlink():  # a link may lead back to where it stands
            yield from _below(inner)
        elif inner.is_file():
            yield inner
