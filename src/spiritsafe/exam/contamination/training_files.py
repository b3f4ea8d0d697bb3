"""Training files as a stream of passages, whatever their size.

In: JSON lines (``traces.jsonl`` of a run, chat files with ``messages``, ``prompt`` and ``completion``, or ``text``:
every string anywhere in a line is a passage, a long one cut into several), or plain text. Out: passages, and the digest
and size of the file that they were read from in the same pass. At most one line of JSON and some MiB are in memory.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, final

from spiritsafe.core.errors import SourceError
from spiritsafe.core.files.reading import open_to_read

_CHUNK_BYTES = 1 << 20
_LINE_BYTES = 32 << 20  # of JSON: a value is read whole
_PASSAGE_CHARACTERS = 1 << 20
_BINARY = (b"\x1f\x8b", b"PAR1", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")

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


@final
class TrainingFile:
    """A file to be read once.

    Args:
        path: Where.

    Raises:
        SourceError: It cannot be read, or is neither JSON lines nor text.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_bytes = 0
        self._hash = hashlib.sha256()
        self._has_ended = False
        try:
            with open_to_read(path) as file:
                start = file.read(_CHUNK_BYTES)
        except SourceError:  # an OSError too, which already says what to do
            raise
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}.", hint="Check the path.") from error
        if start.startswith(_BINARY) or b"\0" in start:
            raise SourceError(
                f"{path} is neither JSON lines nor text.", hint="Unpack it, or write it as JSON lines, and try again."
            )
        self.layout: Literal["json lines", "text"] = "json lines" if start.lstrip().startswith(b"{") else "text"

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the bytes read.

        Raises:
            SourceError: It was not read to its end.
        """
        if not self._has_ended:
            raise SourceError(f"{self.path} was not read to its end.", hint="Read all of its passages first.")
        return f"sha256:{self._hash.hexdigest()}"

    def passages(self) -> Iterator[Passage]:
        """All of its text, in order.

        Raises:
            SourceError: It cannot be read on.
        """
        try:
            with open_to_read(self.path) as file:
                yield from self._json_lines(file) if self.layout == "json lines" else self._text(file)
        except SourceError:
            raise
        except OSError as error:
            raise SourceError(f"{self.path} cannot be read: {error.strerror}.", hint="Check the disk.") from error
        self._has_ended = True

    def _count(self, data: bytes) -> bytes:
        self._hash.update(data)
        self.num_bytes += len(data)
        return data

    def _json_lines(self, file: IO[bytes]) -> Iterator[Passage]:
        number = 0
        while line := self._count(file.readline(_LINE_BYTES + 1)):
            number += 1
            if len(line) > _LINE_BYTES:
                raise SourceError(
                    f"{self.path}, line {number}: longer than {_LINE_BYTES >> 20} MiB.",
                    hint="Write one document a line, or give the text itself as a plain text file.",
                )
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                yield from _pieces(line.decode("utf-8", "replace"))
            else:
                for text in _strings(value):
                    yield from _pieces(text)

    def _text(self, file: IO[bytes]) -> Iterator[Passage]:
        """Cut behind white space, so that no word is cut in two."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest = ""
        while chunk := self._count(file.read(_CHUNK_BYTES)):
            text = rest + decoder.decode(chunk)
            end = max(text.rfind(" "), text.rfind("\n")) + 1
            if not end and len(text) < _LINE_BYTES:
                rest = text
                continue
            end = end or len(text)
            yield text[:end], True
            rest = text[end:]
        yield rest + decoder.decode(b"", final=True), False
