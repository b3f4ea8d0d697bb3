"""The report's sample transcripts: what models wrote on training problems, right and wrong answers.

In: attempts that stages kept. Out: a few :class:`~spiritsafe.report.Transcript` of each model that answered. Exam
problems are nowhere here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spiritsafe.core.records import Problem
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.step import Talk, step_of
from spiritsafe.report import Transcript

_EACH = 3
"""Right answers of each model, and as many others."""


def transcripts(context: RunContext) -> tuple[Transcript, ...]:
    """Of the taught teacher, of models that a step sampled from, and of the last round of each reinforced model."""
    made = [step_of(node).talks(context, node) for node in context.recipe.made if node.name in context.done]
    sets: list[dict[str, Any]] = [context.stage(name).result() for name in context.recipe.data]
    unverified = frozenset(str(one["task"]) for one in sets if not one["verifies"])
    return tuple(quoted for talks in made if talks is not None for quoted in _few(*talks, unverified))


def _few(
    model: str, problems: Iterable[Problem], talks: Iterable[Talk], unverified: frozenset[str]
) -> list[Transcript]:
    by_id = {problem.id: problem for problem in problems}
    sides: tuple[list[Talk], list[Talk]] = ([], [])
    for talk in talks:
        side = sides[talk[3].status != "correct"]
        if len(side) < _EACH:
            side.append(talk)
        if all(len(side) == _EACH for side in sides):
            break  # there may be millions
    return [
        Transcript(
            model=model,
            split="train",
            messages=by_id[problem_id].messages,
            text=text,
            finish_reason=finish_reason,
            verdict=None if by_id[problem_id].task in unverified else verdict,
        )
        for side in sides
        for problem_id, text, finish_reason, verdict in side
    ]
