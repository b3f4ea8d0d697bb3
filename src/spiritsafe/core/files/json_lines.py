"""Files of JSON lines: appended to, read back, a torn last line put aside."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import SourceError
from spiritsafe.core.files.atomic import storage_errors
from spiritsafe.core.files.reading import open_regular, parse_json, read_bytes

MOST_LINES_BYTES = 16 << 30
"""Of a file of lines: a whole data set may be one."""

_BLOCK_BYTES = 1 << 16


def _open_to_append(path: Path) -> int:
    return open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)


def append_line(path: Path, value: JSON, *, sync: bool = False) -> None:
    """Append one JSON value as one line. A single ``write`` keeps concurrent appends whole."""
    line = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
    with storage_errors(path), open(_open_to_append(path), "ab", buffering=0) as file:
        if (written := file.write(line)) != len(line):  # the disk filled up: half a line must not stay
            file.truncate(file.tell() - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if sync:
            os.fsync(file.fileno())


def read_json_lines(path: Path) -> list[Any]:
    """Read a JSON-lines file; a torn last line (a killed writer) is left out.

    Raises:
        SourceError: The file is unreadable, or a line other than the last is not JSON.
    """
    return parse_json_lines(read_bytes(path, most_bytes=MOST_LINES_BYTES), path)


def parse_json_lines(data: bytes, path: Path) -> list[Any]:
    """The values of a JSON-lines file that was read; see :func:`read_json_lines`."""
    lines = data.split(b"\n")
    values = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values.append(parse_json(line, f"{path}, line {number}"))
        except SourceError:
            if number < len(lines):  # else: no newline behind it, the writer was killed in the middle
                raise
    return values


def cut_torn_line(path: Path) -> None:
    """Cut off what a killed writer left of a last line, so that the next one does not continue it.

    Raises:
        StorageError: The file cannot be written.
    """
    if not path.exists():
        return
    with storage_errors(path), open(open_regular(path, os.O_RDWR), "r+b") as file:
        end = size = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _BLOCK_BYTES)
            file.seek(start)
            at = file.read(end - start).rfind(b"\n")
            if at >= 0:
                end = start + at + 1
                break
            end = start
        if end < size:
            file.truncate(end)


def set_aside(path: Path, data: bytes) -> None:
    """Keep what was cut off a file beside it, in a new file that only its owner reads."""
    with storage_errors(path):
        descriptor, _ = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".torn", dir=path.parent)
        with open(descriptor, "wb") as file:
            file.write(data + b"\n")
