"""Files of rows as others publish them: JSON lines, a JSON array, CSV or Parquet, packed with gzip or Zstandard or not.

In: a path. Out: its rows, one after the other, with the digest and the size of the file that they came from. Its first
bytes say what it is; of CSV, which has no mark, its name. At most one row and some MiB are in memory, whatever the file
claims or unpacks to. Values of CSV are texts as they stand: "007" stays "007".
"""

from __future__ import annotations

import codecs
import hashlib
import importlib
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, final

from spiritsafe.core.errors import SourceError
from spiritsafe.core.files.reading import HOOKS, MOST_BYTES, open_to_read, parse_json

TableLayout = Literal["json lines", "json array", "csv", "parquet", "text"]

ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".gz", ".zst")
"""How names of such files end."""

MOST_ROW_BYTES = 32 << 20
"""Of one row: it is read whole."""

_CHUNK_BYTES = 1 << 20
_PACKINGS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_PARQUET = b"PAR1"
_SPACE = re.compile(r"[ \t\n\r]*")
_JSON_OBJECT = re.compile(rb'\s*\{\s*"')
_NEVER_TEXT = (b"PK\x03\x04", b"BZh", b"\xfd7zXZ")


@final
class _Stream(io.RawIOBase):
    """Bytes from a function, the first of which can be looked at before they are read."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read_on = read
        self._ahead = b""

    def start(self, num_bytes: int) -> bytes:
        """The first bytes that are still to be read."""
        while len(self._ahead) < num_bytes and (chunk := self._read_on(num_bytes)):
            self._ahead += chunk
        return self._ahead[:num_bytes]

    def skip(self, num_bytes: int) -> None:
        """Do without the first bytes, which were looked at."""
        self._ahead = self._ahead[num_bytes:]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._ahead[: len(buffer)]
        self.skip(len(data))
        data = data or self._read_on(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@final
class RowFile:
    """A file of rows, to be read once.

    Args:
        most_bytes: What a packed one may unpack to.

    Attributes:
        layout: What it is; "text" where it holds no rows.
        num_bytes: Of the file, read so far.

    Raises:
        SourceError: It cannot be read, or is of no kind that is known.
    """

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self.path = path
        self._most_bytes = most_bytes
        with self._opened() as (stream, _):
            self.layout = self._layout(stream.start(_CHUNK_BYTES))

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the file's bytes.

        Raises:
            SourceError: It was not read to its end.
        """
        if not self._has_ended:
            raise SourceError(f"{self.path} was not read to its end.", hint="Read all of it first.")
        return f"sha256:{self._hash.hexdigest()}"

    @contextmanager
    def opened(self) -> Iterator[io.BufferedReader]:
        """What it unpacks to, without a byte order mark; what is left unread of it goes into the digest.

        Raises:
            SourceError: It cannot be read on.
        """
        with self._opened() as (stream, file):
            yield io.BufferedReader(stream, _CHUNK_BYTES)
            self._read_out(file)

    def rows(self) -> Iterator[Any]:
        """All rows, in order.

        Raises:
            SourceError: It is damaged, or a row is too large.
        """
        if self.layout == "parquet":  # which is not read from one end to the other
            with self._opened() as (_, file):
                yield from _arrow().parquet_rows(file, self._sized)
                file.seek(0)
                self._begin()
                self._read_out(file)
            return
        with self.opened() as stream:
            if self.layout == "csv":
                delimiter = "\t" if self._name.endswith(".tsv") else ","
                yield from _arrow().csv_rows(stream, delimiter, MOST_ROW_BYTES)
            elif self.layout == "json array":
                yield from self._json_array(io.TextIOWrapper(stream, "utf-8"))
            else:
                yield from self._json_lines(stream)

    def too_long(self, what: str, most_bytes: int = MOST_ROW_BYTES) -> SourceError:
        """The error for a row beyond all measure."""
        return SourceError(
            f"{self.path}, {what}: longer than {most_bytes >> 20} MiB.",
            hint="Write one document a row, or give the text itself as a plain text file.",
        )

    @property
    def _name(self) -> str:
        return self.path.name.lower().removesuffix(".gz").removesuffix(".zst")

    def _begin(self) -> None:
        self.num_bytes, self._hash, self._has_ended = 0, hashlib.sha256(), False

    def _counted(self, data: bytes) -> bytes:
        self._hash.update(data)
        self.num_bytes += len(data)
        return data

    def _read_out(self, file: IO[bytes]) -> None:
        while self._counted(file.read(_CHUNK_BYTES)):
            pass
        self._has_ended = True

    @contextmanager
    def _opened(self) -> Iterator[tuple[_Stream, IO[bytes]]]:
        """What it unpacks to, and the file itself."""
        self._begin()
        with self._errors(), open_to_read(self.path) as file:
            packed = _Stream(lambda num_bytes: self._counted(file.read(num_bytes)))
            packing = next((name for mark, name in _PACKINGS.items() if packed.start(len(mark)) == mark), None)
            stream = packed if packing is None else _Stream(self._unpack(packed, packing))
            if stream.start(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
                stream.skip(len(codecs.BOM_UTF8))
            yield stream, file

    def _layout(self, start: bytes) -> TableLayout:
        if start.startswith(_PARQUET):
            return "parquet"
        if start.startswith(_NEVER_TEXT) or b"\0" in start:
            raise SourceError(
                f"{self.path} is neither JSON lines nor text.",
                hint="Unpack it, or write it as JSON lines, CSV or Parquet, and try again.",
            )
        if self._name.endswith((".csv", ".tsv")) and not _JSON_OBJECT.match(start):  # JSON lines may have any name
            return "csv"
        first = start.lstrip()[:1]
        if first == b"[" and self._name.endswith(".json"):
            return "json array"
        return "json lines" if first == b"{" else "text"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Whatever a library raises about a file becomes one error of ours."""
        try:
            yield
        except SourceError:  # an OSError too, which already says what to do
            raise
        except (OSError, ValueError, EOFError) as error:  # pyarrow's are of these kinds; EOFError: a cut-off file
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200] or "it ends too early"
            shown = "".join(sign if sign.isprintable() else "?" for sign in reason)
            is_of_system = getattr(error, "errno", None) is not None  # the system's word, none of a library
            raise SourceError(
                f"{self.path} cannot be read: {shown.rstrip('.')}.",
                hint="Check that it exists and is yours to read."
                if is_of_system
                else "Check the path, and that the file is whole; then try again.",
            ) from error

    def _unpack(self, packed: _Stream, packing: str) -> Callable[[int], bytes]:
        read: Callable[[int], bytes] = _arrow().unpacked(io.BufferedReader(packed, _CHUNK_BYTES), packing)
        total = 0

        def bounded(num_bytes: int) -> bytes:
            nonlocal total
            with self._errors():
                data = read(num_bytes)
            total += len(data)
            if total > self._most_bytes:
                raise SourceError(
                    f"{self.path} unpacks to more than {self._most_bytes:,} bytes.",
                    hint="Unpack it yourself if that is as it should be, and give the unpacked file.",
                )
            return data

        return bounded

    def _json_lines(self, file: IO[bytes]) -> Iterator[Any]:
        number = 0
        while line := file.readline(MOST_ROW_BYTES + 1):
            number += 1
            if len(line) > MOST_ROW_BYTES:
                raise self.too_long(f"line {number}")
            if not line.strip():
                continue
            try:
                yield parse_json(line, f"{self.path}, line {number}")
            except SourceError:
                if line.endswith(b"\n"):  # else its writer was killed in the middle of it
                    raise

    def _json_array(self, file: IO[str]) -> Iterator[Any]:
        text, at, number = "", 0, 0  # what was read, and where that begins which is not used yet
        decode = json.JSONDecoder(**HOOKS).raw_decode

        def read_on() -> bool:
            nonlocal text, at
            more = file.read(max(_CHUNK_BYTES, len(text) - at))  # as much again: small pieces would take for ever
            text, at = text[at:] + more, 0
            return bool(more)

        def sign() -> str:
            """The next sign that is no white space, which may be the next to be used; none at the end."""
            nonlocal at
            while True:
                at = _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it always matches
                if at < len(text) or not read_on():
                    return text[at : at + 1]

        sign()
        before = "["
        while before != "]":
            at += 1
            if sign() == "]" and number == 0:
                break
            number += 1
            while True:
                try:
                    row, end = decode(text, at)
                    why = "it ends too early"
                    if end < len(text):  # else it may go on: a number
                        break
                except (ValueError, RecursionError) as error:
                    why = str(error)
                    if not _is_cut_off(error, text):
                        raise self._no_array(number, why) from error
                if len(text) - at > MOST_ROW_BYTES:
                    raise self.too_long(f"row {number}")
                if not read_on():
                    raise self._no_array(number, why)
            at = end
            yield row
            if (before := sign()) not in (",", "]"):
                raise self._no_array(number, "no comma behind it")
        at += 1
        if sign():
            raise self._no_array(number, "there is more behind the end")

    def _no_array(self, number: int, why: str) -> SourceError:
        return SourceError(f"{self.path}, row {number}: not valid JSON: {why}.", hint="Restore it from a good copy.")

    def _sized(self, row: Any, number: int) -> Any:
        """A row of JSON values, if it is not too large."""
        if _num_characters(row) > MOST_ROW_BYTES:
            raise self.too_long(f"row {number}")
        return row


def _is_cut_off(error: Exception, text: str) -> bool:
    """Whether what was read of a value may be the beginning of a good one."""
    return isinstance(error, json.JSONDecodeError) and (
        error.msg.startswith("Unterminated string") or error.pos >= len(text) - len("\\uD83D\\uDE00")
    )


def _num_characters(value: Any) -> int:
    total, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        total += len(one) if isinstance(one, str | bytes) else 8
        waiting += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
    return total


def _arrow() -> Any:
    """What reads with pyarrow, which most files and commands do without: it takes 0.1 CPU seconds to load."""
    return importlib.import_module("spiritsafe.core.files.arrow_tables")
