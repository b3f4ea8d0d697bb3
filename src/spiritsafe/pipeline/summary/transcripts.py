"""The report's sample transcripts: what models wrote on training problems, right and wrong answers.

In: attempts that stages kept. Out: a few :class:`~spiritsafe.report.Transcript` of each model that answered. Exam
problems are nowhere here.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.files.checked_lines import read_sealed_lines
from spiritsafe.core.records import FinishReason, Problem, Verdict
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.steps import ReinforceStep, SampleStep
from spiritsafe.pipeline.stages.traces import problem_parts, problems_of, train_problems
from spiritsafe.reinforce import ROUNDS_DIRECTORY, Answer
from spiritsafe.report import Transcript
from spiritsafe.rollouts import read_attempts

_EACH = 3
"""Right answers of each model, and as many others."""

_Talk = tuple[str, str, FinishReason, Verdict]


def transcripts(context: RunContext) -> tuple[Transcript, ...]:
    """Of the taught teacher, of models that a step sampled from, and of the last round of each reinforced model."""
    found: list[Transcript] = []
    if context.recipe.sample is not None and "sample" in context.done:
        part = problem_parts(context.recipe)["sample"]
        problems = train_problems(context, first=part.first, count=part.count)
        found += _few("teacher", problems, _collected(context.stage("sample").path / "attempts"))
    for node in context.recipe.nodes:
        step = node.recipe
        if isinstance(step, SampleStep) and step.sampling is not None:
            attempts = _collected(context.stage(node.name).path / "attempts")
            found += _few(step.start, problems_of(context, node.entry), attempts)
        elif isinstance(step, ReinforceStep) and node.control is None:
            rounds = context.stage(node.name).path / "training" / ROUNDS_DIRECTORY
            found += _few(node.name, problems_of(context, node.entry), _last_round(rounds))
    return tuple(found)


def _collected(directory: Path) -> Iterable[_Talk]:
    return ((a.problem_id, a.text, a.finish_reason, verdict) for a, verdict in read_attempts(directory))


def _last_round(directory: Path) -> Iterable[_Talk]:
    """The answers of the newest round that is whole; none when the stage's scratch files were cleared away."""
    for path in sorted(directory.glob("round-*.jsonl"), reverse=True):
        try:
            lines = read_sealed_lines(path)
        except IntegrityError:
            continue
        answers = [Answer.model_validate_json(line) for line in islice(lines, 1, None)]
        return [(a.problem_id, a.text, a.finish_reason, a.verdict) for a in answers]
    return []


def _few(model: str, problems: Iterable[Problem], talks: Iterable[_Talk]) -> list[Transcript]:
    by_id = {problem.id: problem for problem in problems}
    sides: tuple[list[_Talk], list[_Talk]] = ([], [])
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
