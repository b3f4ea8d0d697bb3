"""Files that are exactly the canonical bytes of one record, so that no byte can change unseen.

In: a record, or a path. Out: the file, or the record. Used for papers, results, certificates and rerun reports.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import orjson

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.files.atomic import write_bytes
from spiritsafe.core.files.reading import read_bytes
from spiritsafe.core.records import Record

RecordT = TypeVar("RecordT", bound=Record)


def read_file(path: Path) -> bytes:
    """A plain file's bytes, or those of a pipe that the user handed over.

    Raises:
        SourceError: It is missing, cannot be read, is no plain file, or is too large.
    """
    return read_bytes(path, is_typed=True)


def parse_record(data: bytes, kind: type[RecordT], what: str) -> RecordT:
    """Bytes as a record.

    Args:
        kind: The record's class.
        what: How errors call it; never the content, which may be secret.

    Raises:
        IntegrityError: They are not the canonical form of such a record.
    """
    hint = "It was altered or damaged: get a good copy."
    try:
        value = orjson.loads(data)
    except ValueError as error:
        raise IntegrityError(f"{what} is not JSON.", hint=hint) from error
    record = kind.from_json(value)
    if record.canonical() != data:
        raise IntegrityError(f"{what} is not in canonical form.", hint=hint)
    return record


def read_record(path: Path, kind: type[RecordT]) -> RecordT:
    """A file as a record.

    Raises:
        SourceError: It cannot be read.
        IntegrityError: It is not exactly the canonical form of such a record.
    """
    return parse_record(read_file(path), kind, str(path))


def record_bytes(record: Record) -> bytes:
    """A record's canonical bytes, known to read back.

    Raises:
        IntegrityError: They do not (a float beyond 2**53 would come back as an integer that has no canonical form).
    """
    data = record.canonical()
    parse_record(data, type(record), f"This {type(record).__name__}")
    return data


def write_record(path: Path, record: Record) -> None:
    """Write a record's canonical bytes, whole or not at all.

    Raises:
        IntegrityError: They would not read back.
        StorageError: It cannot be written.
    """
    write_bytes(path, record_bytes(record))
