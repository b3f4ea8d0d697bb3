"""Rounds of a model's own answers: drawn once, kept on disk, and served over the steps that learn from them.

In: the number of a step and the model as it is before that step. Out: what is served in the step. At the start of a
round the model answers; the round is a file ``round-00000.jsonl``, whole or absent: a line with the digest of all that
follows, a header, then an answer a line. A run that was killed reads the finished round, so on a CPU it ends in the
same weights as an unbroken one. What an answer is, how it is drawn and what becomes of it is each room's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, final

from pydantic import Field, ValidationError

from spiritsafe.core.canonical import JSON, digest
from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.atomic import ensure_directory
from spiritsafe.core.files.checked_lines import read_first_sealed_line, read_sealed_lines, write_sealed_lines
from spiritsafe.core.process.platforms import Platform, continue_in
from spiritsafe.core.records import Record
from spiritsafe.models import LanguageModel, this_platform
from spiritsafe.training.checkpoints.state import weights_fingerprint

ROUNDS_FILE = "rounds.jsonl"
"""Statistics, a line for each round."""


class RoundHeader(Record):
    """Where a round belongs; rooms add what they must know of it.

    Attributes:
        feed: Digest of the run that it was drawn for: configuration, problems, first weights and the like.
        round_index: From 0.
        before: What the rounds before it came to, in a room's own form.
        weights: Fingerprint of the model that was in training when the round was drawn.
    """

    format: Literal[1] = 1
    feed: str
    round_index: int = Field(ge=0)
    before: Any
    weights: str


H = TypeVar("H", bound=RoundHeader)
A = TypeVar("A", bound=Record)


@dataclass(frozen=True)
class Round(Generic[H, A]):
    """A round as a feed uses it: where it belongs, and its answers in the order in which they were asked for."""

    header: H
    answers: tuple[A, ...]


R = TypeVar("R", bound=Round[Any, Any])
T = TypeVar("T")
V = TypeVar("V")


def round_path(directory: Path, round_index: int) -> Path:
    """Where a round is kept."""
    return directory / f"round-{round_index:05d}.jsonl"


@final
@dataclass(frozen=True, kw_only=True)
class RoundFormat(Generic[R]):
    """How rounds of one kind are written and read.

    Attributes:
        make: A round of a header and answers.
        encode: A record's line.
        decided_by: What ``feed`` of a header is the digest of, for people.
    """

    make: Callable[[Any, tuple[Any, ...]], R]
    header: type[RoundHeader]
    answer: type[Record]
    encode: Callable[[Record], bytes]
    decided_by: str

    def write(self, directory: Path, round_: R) -> None:
        """Write a round, whole or not at all.

        Raises:
            StorageError: The directory cannot be written.
        """
        lines = (self.encode(record) for record in (round_.header, *round_.answers))
        write_sealed_lines(round_path(directory, round_.header.round_index), lines)

    def read_header(self, directory: Path, round_index: int, *, feed: str) -> Any:
        """Read a round's header back, and nothing else: its answers are not looked at.

        Raises:
            IntegrityError: The file is missing, its header damaged, or it was drawn for another run than ``feed``.
        """
        path = round_path(directory, round_index)
        return self._header(path, round_index, read_first_sealed_line(path), feed)

    def read(self, directory: Path, round_index: int, *, feed: str) -> R:
        """Read a round back.

        Raises:
            IntegrityError: The file is missing, damaged, or was drawn for another run than ``feed``.
        """
        path = round_path(directory, round_index)
        lines = read_sealed_lines(path)
        header = self._header(path, round_index, next(lines, b""), feed)
        return self.make(header, tuple(self.answer.model_validate_json(line) for line in lines))

    def _header(self, path: Path, round_index: int, line: bytes, feed: str) -> RoundHeader:
        try:
            header = self.header.model_validate_json(line)
        except ValidationError as error:
            raise IntegrityError(
                f"{path} was written by another version.", hint="Give this run a directory of its own."
            ) from error
        if header.feed != feed or header.round_index != round_index:
            raise IntegrityError(
                f"{path} belongs to another run: {self.decided_by} differ.",
                hint="Give this run a directory of its own, or delete the old one.",
            )
        return header


class RoundFeed(ABC, Generic[R, T]):
    """A :class:`~spiritsafe.training.data.feed.Feed` of rounds; what is served of a round is a room's own.

    Args:
        directory: For them and their statistics; made if missing.
        steps_per_round: Updates that one round feeds.
        description: Everything that decides what is drawn, first weights apart.
        first_weights: Their fingerprint, by a room's word for the model.
    """

    def __init__(
        self,
        rounds: RoundFormat[R],
        *,
        directory: Path,
        steps_per_round: int,
        description: dict[str, JSON],
        first_weights: Mapping[str, JSON],
        events: EventSink | None,
    ) -> None:
        self._rounds = rounds
        self._directory = ensure_directory(directory)
        self._steps_per_round = steps_per_round
        self._description = description
        self._digest = digest({**description, **first_weights})
        self._events = events or NullSink()
        self._open: tuple[int, T] | None = None

    def describe(self) -> dict[str, JSON]:
        """Configuration, and digests of all else that decides what is drawn."""
        return self._description

    def epoch_of(self, step: int) -> int:
        """The round that a step belongs to."""
        return step // self._steps_per_round

    def draws_at(self, step: int) -> bool:
        """Whether the model may be asked before a step: at the start of a round."""
        return step % self._steps_per_round == 0

    def _opened(self, step: int, model: LanguageModel) -> tuple[T, int]:
        """What the step's round serves, and the step's place in it; at the start of a round the model answers first."""
        index, place = divmod(step, self._steps_per_round)
        if self._open is None or self._open[0] != index:
            self._open = index, self._prepare(self._enter(index, model if place == 0 else None))
        return self._open[1], place

    def _enter(self, index: int, model: LanguageModel | None) -> R:
        """A round, from disk where it is there, else drawn.

        Args:
            model: As it is at the start of the round; None in the middle, when only the file can be used.
        """
        if model is None:
            return self._on_main(lambda: self._read(index))
        weights, head = weights_fingerprint(model), model.head().weight_VH
        self._on_main(partial(self._say_platform, this_platform(head.device, head.dtype)))
        before = self._before(index)
        found = self._on_main(lambda: self._find(index, weights, before))
        if found is not None:
            return found
        drawn = self._draw(index, model, weights, before)
        self._on_main(lambda: self._rounds.write(self._directory, drawn))
        return drawn

    def _find(self, index: int, weights: str, before: Any) -> R | None:
        """The round on disk, if it is these weights' own.

        A sitting that was killed may have left rounds that its checkpoint had not reached. Other weights now (a GPU
        does not repeat itself to the last bit) mean that the file is not on-policy: draw again.
        """
        if not round_path(self._directory, index).exists():
            return None
        found = self._read(index)
        return found if (found.header.weights, found.header.before) == (weights, before) else None

    def _read(self, index: int) -> R:
        return self._rounds.read(self._directory, index, feed=self._digest)

    def _say_platform(self, here: Platform) -> None:
        is_begun = any(self._directory.glob("round-*"))
        what = f"The rounds in {self._directory}"
        continue_in(self._directory, here, what=what, is_begun=is_begun, events=self._events)

    def _on_main(self, call: Callable[[], V]) -> V:
        """What a call gives in the main process; a feed that is asked in all of them overrides it."""
        return call()

    @abstractmethod
    def _before(self, index: int) -> Any:
        """What the rounds before one came to, as its header has it."""

    @abstractmethod
    def _draw(self, index: int, model: LanguageModel, weights: str, before: Any) -> R:
        """Let the model answer."""

    @abstractmethod
    def _prepare(self, round_: R) -> T:
        """Take a round in, and make what its steps are served."""
