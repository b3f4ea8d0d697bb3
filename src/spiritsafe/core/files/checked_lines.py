"""Files of JSON lines under a seal: whole or absent, and refused when a single bit of them has changed.

In: encoded lines. Out: a file whose first line holds the digest of all that follows, and that of the line under it, so
that this one can be had without the rest; read back, the lines, or an :class:`IntegrityError`. Also tables that a
repeated run writes again, one row for each round. Both are how a run that draws keeps what it drew: the weights that
drew it are gone, so it could not be drawn again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from spiritsafe.core.canonical import canonical_json, digest_bytes
from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.files.atomic import atomic_path, write_text
from spiritsafe.core.files.json_lines import read_json_lines
from spiritsafe.core.files.reading import open_to_read

_DIGEST_CHARACTERS = len(digest_bytes(b""))
_MOST_SEAL_BYTES = 1024
_CHUNK_BYTES = 1 << 20

_HINT = "Delete the run's directory to start again, or restore the file from a good copy."


def write_sealed_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Write a file, whole or not at all: the seal, then each line and a newline. One line at a time is held.

    Args:
        lines: Each one JSON value, without a newline in it.

    Raises:
        StorageError: It cannot be written.
    """
    hasher, first = sha256(), None
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(_seal("", "") + b"\n")
        for line in lines:
            if first is None:
                first = digest_bytes(line)
            hasher.update(line + b"\n")
            file.write(line + b"\n")
        file.seek(0)
        file.write(_seal(f"sha256:{hasher.hexdigest()}", first or digest_bytes(b"")) + b"\n")


def _seal(digest: str, first: str) -> bytes:
    """The seal; with room for the digests where they are not known yet."""
    return canonical_json({"digest": digest or "-" * _DIGEST_CHARACTERS, "first": first or "-" * _DIGEST_CHARACTERS})


def read_sealed_lines(path: Path) -> Iterator[bytes]:
    """The lines under a file's seal, one at a time, once all of them were found to be what was written.

    Raises:
        IntegrityError: The file is missing, or is not what was written.
        SourceError: It cannot be read.
    """
    with _opened(path) as file:
        seal, first = file.readline(_MOST_SEAL_BYTES), file.readline()
        hasher = sha256(first)
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
    digest = f"sha256:{hasher.hexdigest()}"
    # a file of before there was a "first"
    if seal not in (_seal(digest, digest_bytes(first.removesuffix(b"\n"))) + b"\n", _old_seal(digest) + b"\n"):
        raise _damaged(path)
    return _lines(path, len(seal))


def _lines(path: Path, start: int) -> Iterator[bytes]:
    with _opened(path) as file:
        file.seek(start)
        yield from (line.removesuffix(b"\n") for line in file)


def read_first_sealed_line(path: Path) -> bytes:
    """The first line under a file's seal, checked without reading the others; of a file of before, all are read.

    Raises:
        IntegrityError: The file is missing, or seal and line are not what was written.
        SourceError: It cannot be read.
    """
    with _opened(path) as file:
        seal, first = file.readline(_MOST_SEAL_BYTES), file.readline().removesuffix(b"\n")
    try:
        digest = str(json.loads(seal)["digest"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path) from error
    if seal == _old_seal(digest) + b"\n":
        return next(read_sealed_lines(path), b"")
    if seal != _seal(digest, digest_bytes(first)) + b"\n":
        raise _damaged(path)
    return first


def _old_seal(digest: str) -> bytes:
    return canonical_json({"digest": digest})


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with open_to_read(path) as file:
            yield file
    except FileNotFoundError as error:
        raise IntegrityError(
            f"{path} is missing; the weights that drew it are gone, so it cannot be drawn again.", hint=_HINT
        ) from error
    except SourceError:  # an OSError too, which already says what to do
        raise
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.", hint="Check its permissions.") from error


def _damaged(path: Path) -> IntegrityError:
    return IntegrityError(f"{path} is damaged: it is not what was written.", hint=_HINT)


def put_round(path: Path, row: dict[str, Any]) -> bool:
    """Put a round's row into a table; the rows of later rounds are dropped (a resumed run will come to them again).

    Args:
        path: The table, JSON lines in the order of their key ``round``; made if missing.
        row: The row; it replaces an older one of the same round.

    Returns:
        False when the table has this very row already; then nothing changes.

    Raises:
        StorageError: The table cannot be written.
        SourceError: It is damaged.
    """
    known: list[dict[str, Any]] = read_json_lines(path) if path.exists() else []
    if not all(isinstance(old, dict) and isinstance(old.get("round"), int) for old in known):
        raise SourceError(f"{path} is damaged: not every line of it is a round.", hint="Delete it: it is made anew.")
    if row in known:
        return False
    kept = [old for old in known if old["round"] < row["round"]]
    write_text(path, "".join(json.dumps(line, sort_keys=True) + "\n" for line in [*kept, row]))
    return True
