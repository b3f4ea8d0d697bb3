"""Training files as a stream of passages, whatever their size.

In: rows as JSON lines, a JSON array, CSV or Parquet (``traces.jsonl`` of a run, chat files with ``messages``,
``prompt`` and ``completion``, or ``text``: every string anywhere in a row is a passage, a long one cut into several),
or plain text; packed or not. Out: passages, and the digest and size of the file. At most one row and some MiB are in
memory.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, final

from spiritsafe.core.files.tables import MOST_ROW_BYTES, RowFile

_CHUNK_BYTES = 1 << 20
_LINE_BYTES = MOST_ROW_BYTES
_UNPACKED_BYTES = 1 << 40  # it takes time, not memory
_PASSAGE_CHARACTERS = 1 << 20

Passage = tuple[str, bool]
"""Text, and whether the next passage goes on with it."""


def _pieces(text: str) -> Iterator[Passage]:
    """A text of any length as passages, cut behind white space where there is some."""
    start = 0
    while len(text) - start > _PASSAGE_CHARACTERS:
        most = start + _PASSAGE_CHARACTERS
        end = max(text.rfind(" ", start, most), text.rfind("\n", start, most)) + 1 or most
        yield text[start:end], True
        start = end
    yield text[start:], False


def _strings(value: Any) -> Iterator[str]:
    """All strings in a JSON value, keys left out, in order; without recursion, for lines nested by an adversary."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting += reversed(list(one.values()))
        elif isinstance(one, list):
            waiting += reversed(one)


def _passages(row: Any) -> Iterator[Passage]:
    for text in _strings(row):
        yield from _pieces(text)


@final
class TrainingFile:
    """A file to be read once.

    Raises:
        SourceError: It cannot be read, or holds neither rows nor text.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = RowFile(path, most_bytes=_UNPACKED_BYTES)
        self.layout = self._file.layout

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the bytes read.

        Raises:
            SourceError: It was not read to its end.
        """
        return self._file.digest

    @property
    def num_bytes(self) -> int:
        """Of the file, read so far."""
        return self._file.num_bytes

    def passages(self) -> Iterator[Passage]:
        """All of its text, in order.

        Raises:
            SourceError: It cannot be read on.
        """
        if self.layout in ("json lines", "text"):
            with self._file.opened() as file:
                yield from self._json_lines(file) if self.layout == "json lines" else self._text(file)
        else:
            for row in self._file.rows():
                yield from _passages(row)

    def _json_lines(self, file: IO[bytes]) -> Iterator[Passage]:
        number = 0
        while line := file.readline(_LINE_BYTES + 1):
            number += 1
            if len(line) > _LINE_BYTES:
                raise self._file.too_long(f"line {number}", _LINE_BYTES)
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                yield from _pieces(line.decode("utf-8", "replace"))
            else:
                yield from _passages(value)

    def _text(self, file: IO[bytes]) -> Iterator[Passage]:
        """Cut behind white space, so that no word is cut in two."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest = ""
        while chunk := file.read(_CHUNK_BYTES):
            text = rest + decoder.decode(chunk)
            end = max(text.rfind(" "), text.rfind("\n")) + 1
            if not end and len(text) < _LINE_BYTES:
                rest = text
                continue
            end = end or len(text)
            yield text[:end], True
            rest = text[end:]
        yield rest + decoder.decode(b"", final=True), False
