"""The report's sample transcripts: what models wrote on training problems, right and wrong answers.

In: attempts that stages kept. Out: a few :class:`~spiritsafe.report.Transcript` of each model that answered. Exam
problems are nowhere here.
"""

from __future__ import annotations

from collections.abc import Iterable

from spiritsafe.core.records import Problem
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.step import Talk, step_of
from spiritsafe.report import Transcript

_EACH = 3
"""Right answers of each model, and as many others."""


def transcripts(context: RunContext) -> tuple[Transcript, ...]:
    """Of the taught teacher, of models that a step sampled from, and of the last round of each reinforced model."""
    made = [step_of(node).talks(context, node) for node in context.recipe.made if node.stage in context.done]
    return tuple(quoted for talks in made if talks is not None for quoted in _few(*talks))


def _few(model: str, problems: Iterable[Problem], talks: Iterable[Talk]) -> list[Transcript]:
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
            verdict=verdict,
        )
        for side in sides
        for problem_id, text, finish_reason, verdict in side
    ]
