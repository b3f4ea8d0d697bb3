"""A file of code, as its own text and as what a compiler reads.

In: a path. Out: text, for languages that are compiled; and the files that lie beside it and that it includes.
"""

from __future__ import annotations

import re
from pathlib import Path

from spiritsafe.core.errors import TaskError
from spiritsafe.core.files.reading import read_bytes

_MOST_BYTES = 4 << 20


def code_text(path: Path) -> str:
    """A file's text; a mark in front that says it is UTF-8 is no part of it.

    Raises:
        SourceError: It cannot be read, or is larger than code is.
        TaskError: It is not UTF-8.
    """
    data = read_bytes(path, most_bytes=_MOST_BYTES)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError(
            f"{path} is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}.",
            hint=f"Convert a copy, if it is Latin-1: iconv -f latin1 -t utf-8 {path.name}",
        ) from error


def code_files(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of a language in a folder and the folders in it, without tests and what is hidden; or the one file."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.suffix in suffixes and _is_code(file, path))


def _is_code(file: Path, folder: Path) -> bool:
    parts = file.relative_to(folder).parts
    return file.is_file() and not any(part.startswith(".") for part in parts) and not is_test_file(file)


def is_test_file(path: Path) -> bool:
    """Whether it is called as tests are."""
    return path.stem.lower().startswith("test") or path.stem.lower().endswith(("_test", "-test"))


def included(path: Path, text: str, pattern: re.Pattern[str], suffixes: tuple[str, ...] = ("",)) -> dict[str, bytes]:
    """The files that a text includes and that lie beside its file, and what these include, by the names it gives them.

    Args:
        path: The text's file.
        text: It.
        pattern: Finds an include; its first group is the name.
        suffixes: That a name may lack.

    Raises:
        SourceError: One cannot be read.
    """
    found: dict[str, bytes] = {}
    waiting = [text]
    while waiting:
        for name in (match[1] for match in pattern.finditer(waiting.pop())):
            for here in (f"{name}{suffix}" for suffix in suffixes):
                file = _beside(path.parent, name, here.removeprefix(name))
                if here not in found and file is not None:
                    found[here] = read_bytes(file, most_bytes=_MOST_BYTES)
                    waiting.append(found[here].decode("utf-8", "replace"))
    return found


def _beside(folder: Path, name: str, suffix: str) -> Path | None:
    """The file of that name in a folder, also where its name is written in small letters, or in capitals."""
    if name.startswith("/") or ".." in Path(name).parts:
        return None
    tried = (folder / f"{one}{suffix}" for one in (name, name.lower(), name.upper()))
    return next((file for file in tried if file.is_file()), None)
