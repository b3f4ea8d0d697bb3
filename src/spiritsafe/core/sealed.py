"""Files of JSON lines under a seal: whole or absent, and refused when a single bit of them has changed.

In: encoded lines. Out: bytes whose first line holds the digest of all that follows; read back, the lines, or an
:class:`IntegrityError`. Also tables that a repeated run writes again, one row for each round. Both are how a run that
draws keeps what it drew: the weights that drew it are gone, so it could not be drawn again.

Exercised by ``pytest tests/unit/core/test_sealed.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spiritsafe.core.canonical import canonical_json, digest_bytes
from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.files import read_json_lines, write_text

__all__ = ["put_round", "read_sealed_lines", "seal_lines"]

_HINT = "Delete the run's directory to start again, or restore the file from a good copy."


def seal_lines(lines: Iterable[bytes]) -> bytes:
    """A file's content: the seal, then each line and a newline.

    Args:
        lines: Each one JSON value, without a newline in it.
    """
    body = b"".join(line + b"\n" for line in lines)
    return canonical_json({"digest": digest_bytes(body)}) + b"\n" + body


def read_sealed_lines(path: Path) -> list[bytes]:
    """The lines under a file's seal.

    Raises:
        IntegrityError: The file is missing, or is not what was written.
        SourceError: It cannot be read.
    """
    try:
        seal, _, body = path.read_bytes().partition(b"\n")
    except FileNotFoundError as error:
        raise IntegrityError(
            f"{path} is missing; the weights that drew it are gone, so it cannot be drawn again.", hint=_HINT
        ) from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.", hint="Check its permissions.") from error
    if seal != canonical_json({"digest": digest_bytes(body)}):
        raise IntegrityError(f"{path} is damaged: it is not what was written.", hint=_HINT)
    return body.splitlines()


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
    if row in known:
        return False
    kept = [old for old in known if old["round"] < row["round"]]
    write_text(path, "".join(json.dumps(line, sort_keys=True) + "\n" for line in [*kept, row]))
    return True
