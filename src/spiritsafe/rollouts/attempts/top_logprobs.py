"""What an endpoint listed beside its answers: the likeliest tokens at each place, kept for a teacher cache.

::

    <directory>/top-logprobs.jsonl    a line for each answer that came with such a list; beside the attempts' shards

In: answers and lists. Out: the list of an answer, found by its place and its text: a sample that was asked on two days
has two lists.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, final

from spiritsafe.core.canonical import JSON, digest
from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.files.json_lines import append_line, cut_torn_line
from spiritsafe.core.files.reading import open_to_read
from spiritsafe.core.records import Attempt

TOP_LOGPROBS = "top-logprobs.jsonl"


def text_digest(text: str) -> str:
    """What tells the answers apart that one sample was given on different days."""
    return digest(text.encode("utf-8", "surrogatepass").hex())


@final
class TopLogprobs:
    """The file of likeliest tokens of one collection, to be added to."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / TOP_LOGPROBS
        self._is_mended = False

    def add(self, attempt: Attempt, tokens: JSON) -> None:
        """Keep what was listed with an answer.

        Raises:
            StorageError: The disk is full.
        """
        if not self._is_mended:
            cut_torn_line(self._path)
            self._is_mended = True
        append_line(
            self._path,
            {
                "problem_id": attempt.problem_id,
                "sample_index": attempt.sample_index,
                "text": text_digest(attempt.text),
                "tokens": tokens,
            },
        )


@final
class ReadTopLogprobs:
    """The file of likeliest tokens, read one answer at a time; held is a place in the file for each answer.

    Args:
        directory: A collection drawn from an endpoint with ``top_logprobs``.

    Raises:
        SourceError: There is no such file.
        IntegrityError: It is damaged.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / TOP_LOGPROBS
        if not self._path.exists():
            raise SourceError(
                f"{directory} holds no likeliest tokens of its answers ({TOP_LOGPROBS}).",
                hint="Sample with top_logprobs set for the endpoint, into a new directory.",
            )
        self._places: dict[tuple[str, int, str], int] = {}
        with open_to_read(self._path) as file:
            place = 0
            for line in file:
                if line.endswith(b"\n"):  # else it was torn
                    found = self._parse(line)
                    self._places[found["problem_id"], found["sample_index"], found["text"]] = place
                place += len(line)

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            found = json.loads(line)
            (found["problem_id"], found["sample_index"], found["text"], found["tokens"][:0])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise IntegrityError(
                f"{self._path} is damaged.", hint="Restore it from a good copy, or collect again."
            ) from error
        value: dict[str, Any] = found
        return value

    def of(self, attempt: Attempt) -> list[dict[str, Any]] | None:
        """What was listed with an answer; None where nothing was."""
        place = self._places.get((attempt.problem_id, attempt.sample_index, text_digest(attempt.text)))
        if place is None:
            return None
        with open_to_read(self._path) as file:
            file.seek(place)
            tokens: list[dict[str, Any]] = self._parse(file.readline())["tokens"]
        return tokens
