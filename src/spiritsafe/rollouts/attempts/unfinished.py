"""The answers so far of a shard that is not whole yet: an endpoint's answers cost money, so none is lost.

::

    <directory>/answered-00003.jsonl    the graded attempts of shard 3, in order of arrival; gone once it is whole

In: graded attempts. Out: the same after a kill, a used-up budget or a dead endpoint; a line that was torn is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import final

from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.files.atomic import storage_errors
from spiritsafe.core.files.json_lines import append_line, cut_torn_line, read_json_lines
from spiritsafe.core.records import Attempt, Verdict
from spiritsafe.rollouts.attempts.shards import Manifest


@final
class UnfinishedShard:
    """The answers so far of one shard of one collection.

    Args:
        directory: Of the collection.
        manifest: Of the collection.
        index: Of the shard.
    """

    def __init__(self, directory: Path, manifest: Manifest, index: int) -> None:
        self._path = directory / f"answered-{index:05d}.jsonl"
        self._inputs = manifest.content_digest

    def read(self) -> Iterator[tuple[Attempt, Verdict]]:
        """The graded attempts that are kept.

        Raises:
            IntegrityError: The file is damaged, or not of this collection.
        """
        cut_torn_line(self._path)
        if not self._path.exists():
            return
        hint = f"Delete {self._path} and run the same command again: what it holds is asked again."
        try:
            for line in read_json_lines(self._path):
                attempt, verdict = Attempt.from_json(line["attempt"]), Verdict.from_json(line["verdict"])
                if line["inputs"] != self._inputs:
                    raise IntegrityError("it holds an answer of another collection.", hint=hint)
                yield attempt, verdict
        except (IntegrityError, SourceError, KeyError, TypeError) as error:
            raise IntegrityError(f"{self._path} is damaged: {error}", hint=hint) from error

    def add(self, attempt: Attempt, verdict: Verdict) -> None:
        """Keep an answer.

        Raises:
            StorageError: The disk is full.
        """
        append_line(self._path, {"inputs": self._inputs, "attempt": attempt.to_json(), "verdict": verdict.to_json()})

    def remove(self) -> None:
        """The shard is written: nothing is kept here any more."""
        with storage_errors(self._path):
            self._path.unlink(missing_ok=True)
