"""What the stages of one run share: the recipe, the run's folder, the machine, and where progress goes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, final

import torch

from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files import write_text
from spiritsafe.core.platforms import Platforms
from spiritsafe.core.records import Problem
from spiritsafe.core.rundir import RunDirectory, StageDirectory
from spiritsafe.core.seeds import derive_seed
from spiritsafe.pipeline.recipe import Recipe

__all__ = ["EXACT_STAGES", "RunContext", "RunWatcher", "Trace", "in_vocabulary", "read_traces", "write_traces"]


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


EXACT_STAGES = frozenset({"source", "seal", "traces", "report"})
"""Stages that come to the same on every machine; the others compute with a model."""


@final
@dataclass(frozen=True, kw_only=True)
class RunContext:
    """One run.

    Attributes:
        done: Stages finished so far, by name.
    """

    recipe: Recipe
    run: RunDirectory
    watcher: RunWatcher
    cache: Path
    done: dict[str, StageDirectory]

    def platforms(self) -> dict[str, Platforms]:
        """What computed each finished stage that computes."""
        return {name: stage.platforms() for name, stage in self.done.items() if name not in EXACT_STAGES}

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
            CompatibilityError: The recipe asks for CUDA and there is none.
        """
        wish = self.recipe.engine.device
        if wish == "cuda" and not torch.cuda.is_available():
            raise CompatibilityError(
                "The recipe asks for a CUDA device and there is none.", hint='Set engine.device to "auto" or "cpu".'
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
    """

    problem: Problem
    text: str
    token_ids: tuple[int, ...] = ()
    vocabulary: str = ""


def in_vocabulary(traces: Sequence[Trace], fingerprint: str) -> list[Trace]:
    """Traces as a model reads them: of tokens that another vocabulary's model drew, the text is left."""
    return [replace(t, token_ids=(), vocabulary="") if t.vocabulary != fingerprint else t for t in traces]


def write_traces(path: Path, traces: list[Trace]) -> None:
    """Write traces as JSON lines."""
    lines = [
        json.dumps(
            {
                "problem": t.problem.to_json(),
                "text": t.text,
                "token_ids": t.token_ids,
                "vocabulary": t.vocabulary,
            },
            ensure_ascii=False,
        )
        for t in traces
    ]
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_traces(path: Path) -> list[Trace]:
    """Read what :func:`write_traces` wrote.

    Raises:
        SourceError: It is not there or not whole.
    """
    try:
        values = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
        return [
            Trace(
                problem=Problem.from_json(v["problem"]),
                text=v["text"],
                token_ids=tuple(v["token_ids"]),
                vocabulary=v["vocabulary"],
            )
            for v in values
        ]
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(
            f"{path} cannot be read: {error}.", hint="Delete the stage's folder and run again."
        ) from error
