"""What the stages of one run share: the recipe, the run's folder, the machine, and where progress goes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, final, overload

import numpy as np
import torch
from numpy.typing import NDArray

from spiritsafe.core.errors import CompatibilityError, IntegrityError, SourceError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import atomic_path
from spiritsafe.core.mapped import MappedSequence
from spiritsafe.core.process.platforms import Platforms
from spiritsafe.core.records import Problem
from spiritsafe.core.seeds import derive_seed
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run_directory import RunDirectory, StageDirectory

_NEWLINE = 10
_CHUNK_BYTES = 1 << 20
_NOTHING = np.zeros(0, dtype=np.uint8)
_NOWHERE = np.zeros(0, dtype=np.int64)


class RunWatcher(EventSink, Protocol):
    """An event sink that is told of steps as well."""

    def begin(self, label: str) -> None:
        """A step starts."""
        ...

    def end(self, summary: str | None = None) -> None:
        """The step is over."""
        ...

    def skip(self, label: str, summary: str) -> None:
        """A step that was done before."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class RunContext:
    """One run.

    Attributes:
        done: Stages finished so far, by name.
        exact: Names of stages that come to the same on every machine; the others compute with a model.
    """

    recipe: Recipe
    run: RunDirectory
    watcher: RunWatcher
    cache: Path
    done: dict[str, StageDirectory]
    exact: frozenset[str] = frozenset()

    def platforms(self) -> dict[str, Platforms]:
        """What computed each finished stage that computes."""
        return {name: stage.platforms() for name, stage in self.done.items() if name not in self.exact}

    def seed(self, *names: str) -> int:
        """A seed for a named purpose."""
        return derive_seed(self.recipe.seed, *names)

    def stage(self, name: str) -> StageDirectory:
        """A finished stage."""
        return self.done[name]

    @property
    def device(self) -> torch.device:
        """Where models live.

        Raises:
            CompatibilityError: The recipe asks for a GPU and there is none of its kind.
        """
        wish = self.recipe.engine.device
        is_missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
        if is_missing.get(wish, False):
            raise CompatibilityError(
                f"The recipe asks for a device of the kind {wish!r} and there is none.",
                hint='Set engine.device to "auto" or "cpu".',
            )
        if wish == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(wish)


@final
@dataclass(frozen=True, kw_only=True)
class Trace:
    """A problem with an answer worth learning from.

    Attributes:
        token_ids: The very tokens that a model drew; empty for text that none did.
        vocabulary: Fingerprint of the vocabulary that they are of.
        turns: Places, in the problem's messages, of earlier assistant turns that are learnt from as well.
    """

    problem: Problem
    text: str
    token_ids: tuple[int, ...] = ()
    vocabulary: str = ""
    turns: tuple[int, ...] = ()


@final
class _TraceFile:
    """A file of traces and where its lines are."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # an empty file cannot be mapped
            self._data = np.asarray(np.memmap(path, dtype=np.uint8, mode="r")) if path.stat().st_size else _NOTHING
        except OSError as error:
            raise self._refusal(error) from error
        chunks = range(0, len(self._data), _CHUNK_BYTES)
        found = [np.flatnonzero(self._data[start : start + _CHUNK_BYTES] == _NEWLINE) + start for start in chunks]
        ends = np.concatenate([*found, np.array([len(self._data)])])
        starts = np.concatenate([[0], ends[:-1] + 1])
        self._lines = np.stack((starts, ends), axis=1)[ends > starts]

    def __len__(self) -> int:
        return len(self._lines)

    def _refusal(self, error: Exception) -> SourceError:
        return SourceError(f"{self._path} cannot be read: {error}.", hint="Delete the stage's folder and run again.")

    def trace(self, place: int) -> Trace:
        start, end = self._lines[place]
        try:
            value = json.loads(self._data[start:end].tobytes())
            problem, text, ids, vocabulary = (value[key] for key in ("problem", "text", "token_ids", "vocabulary"))
            if not (isinstance(text, str) and isinstance(vocabulary, str) and isinstance(ids, list)):
                raise TypeError(f"a trace holds something else than its text and tokens: {str(value)[:80]}")
            turns = value.get("turns", [])
            if not all(type(one) is int for one in (*ids, *turns)):
                raise TypeError("a token is a whole number")
            return Trace(
                problem=Problem.from_json(problem),
                text=text,
                token_ids=tuple(ids),
                vocabulary=vocabulary,
                turns=tuple(turns),
            )
        except (ValueError, KeyError, TypeError, RecursionError, IntegrityError) as error:
            raise self._refusal(error) from error


@final
class Traces(Sequence[Trace]):
    """Traces that stay on disk: a line is read whenever its trace is asked for; 24 bytes a trace are held.

    A slice, a shuffle or a union reads the same files.

    Args:
        places: Which lines, counted over all files.
    """

    def __init__(self, files: Sequence[_TraceFile], places: NDArray[np.int64]) -> None:
        self._files = tuple(files)
        self._firsts = np.cumsum([0, *(len(file) for file in files)])
        self._places = places

    @classmethod
    def joined(cls, parts: Sequence[Traces]) -> Traces:
        """One after the other."""
        firsts = np.cumsum([0, *(part._firsts[-1] for part in parts)])
        places = [part._places + first for part, first in zip(parts, firsts, strict=False)]
        return cls([file for part in parts for file in part._files], np.concatenate([*places, _NOWHERE]))

    def shuffled(self, seed: int) -> Traces:
        """In the order into which :func:`random.shuffle` brings a list of them."""
        order = list(range(len(self)))
        random.Random(seed).shuffle(order)
        return Traces(self._files, self._places[np.array(order, dtype=np.int64)])

    def where(self, keep: Sequence[bool]) -> Traces:
        """Those that are to be kept, in their order."""
        return Traces(self._files, self._places[np.array(keep, dtype=np.bool_)])

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Trace: ...

    @overload
    def __getitem__(self, index: slice) -> Traces: ...

    def __getitem__(self, index: int | slice) -> Trace | Traces:
        if isinstance(index, slice):
            return Traces(self._files, self._places[index])
        place = int(self._places[index])
        number = int(np.searchsorted(self._firsts, place, side="right")) - 1
        return self._files[number].trace(place - int(self._firsts[number]))


def in_vocabulary(traces: Sequence[Trace], fingerprint: str) -> Sequence[Trace]:
    """Traces as a model reads them: of tokens that another vocabulary's model drew, the text is left."""
    return MappedSequence(traces, lambda _, trace: trace if trace.vocabulary == fingerprint else as_text(trace))


def as_text(trace: Trace) -> Trace:
    """A trace without the tokens that a model drew."""
    return replace(trace, token_ids=(), vocabulary="")


def write_traces(path: Path, traces: Iterable[Trace]) -> int:
    """Write traces as JSON lines, one at a time; the file is whole or absent.

    Returns:
        How many there were.
    """
    count = 0
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for trace in traces:
            count += 1
            value = {
                "problem": trace.problem.to_json(),
                "text": trace.text,
                "token_ids": trace.token_ids,
                "vocabulary": trace.vocabulary,
            }
            # a server's answer may hold half a surrogate pair; json reads such bytes back
            if trace.turns:
                value["turns"] = trace.turns
            file.write(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    return count


def read_traces(path: Path) -> Traces:
    """What :func:`write_traces` wrote.

    Raises:
        SourceError: It is not there; or, when a trace is asked for, it is not one.
    """
    file = _TraceFile(path)
    return Traces([file], np.arange(len(file)))


PROBLEMS_FILE = "problems.jsonl"
"""Where the stage of a data set keeps its problems."""


def read_problems(context: RunContext, name: str) -> Iterator[Problem]:
    """The problems of a data set.

    Raises:
        SourceError: The stage's file is damaged.
    """
    path = context.stage(name).path / PROBLEMS_FILE
    try:
        with path.open("rb") as file:
            for line in file:
                yield Problem.from_json(json.loads(line))
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read.", hint="Delete the stage's folder and run again.") from error
