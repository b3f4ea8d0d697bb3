"""Stages "before-…" and "after-…": what a model can do at all, so that teaching can be told from eliciting.

In: a model, dev problems, how many tries. Out: ``counts.json``, right and well-formed answers to each problem; and
whether a model is ready to be reinforced: a reward that never comes teaches nothing. The same problems and seeds serve
before and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from spiritsafe.core.canonical import JSON, digest
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.records import Record
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.made import Probe
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.answerer import drawing_compute, open_answerer
from spiritsafe.pipeline.stages.sets import task_of
from spiritsafe.rollouts import collect, pass_at, read_attempts
from spiritsafe.stats import ClusterBootstrap, Estimate, korn_graubard_interval

When = Literal["before", "after"]

Table = npt.NDArray[np.float64]

_REDRAWS = 0
"""Seed of the bootstrap: intervals are the same for whoever computes them again."""


LEAST_FORMAT = 0.9
"""Below this share of answers that can be read, reward teaches the form before anything else."""


def tries(num_samples: int) -> list[int]:
    """Values of k that are shown: powers of two, up to all samples."""
    return [2**power for power in range(num_samples.bit_length()) if 2**power <= num_samples]


LEAST_PASS_AT_8 = 0.3
"""Below this share of problems solved in eight tries most groups are all wrong, and say nothing."""


def probes_of(recipe: Recipe) -> dict[tuple[str, When], Probe]:
    """The measurements of each model that wants them, before and after; those that are the same are made once.

    Controls have none: what they share with the real run is its start.
    """
    probes: dict[tuple[str, When], Probe] = {}
    made: dict[str, Probe] = {}
    for node in recipe.made:
        models: tuple[tuple[When, str | None], ...] = (("before", node.recipe.needs.weights), ("after", node.name))
        for when, model in models if node.control is None and node.makes_model else ():
            probe = node.recipe.probe_of(str(model), f"{when}-{node.name}")
            if probe is not None:
                key = digest({"model": probe.model, **probe.settings()})
                probes[node.name, when] = made.setdefault(key, probe)
    return probes


@final
class PassCounts(Record):
    """Tries at some problems.

    Attributes:
        num_samples: Tries at each.
        right: Right answers, one count a problem.
        formed: Answers that came to their end and that the verifier could read, right or wrong; one count a problem.
        num_unscored: Tries whose verifier broke; they count as wrong.
    """

    num_samples: int = Field(ge=1)
    right: tuple[int, ...] = Field(min_length=1)
    formed: tuple[int, ...]
    num_unscored: int = 0

    @property
    def passes(self) -> Table:
        """pass@k of each problem, one column for each k from 1 on (arXiv 2107.03374, eq. 1)."""
        rows = {count: pass_at([place < count for place in range(self.num_samples)]) for count in set(self.right)}
        return np.stack([rows[count] for count in self.right])

    def at(self, k: int, *, confidence: float = 0.95) -> Estimate:
        """pass@k over problems."""
        redraws = ClusterBootstrap(len(self.right), seed=_REDRAWS, confidence=confidence)
        return redraws.interval(self.passes[:, k - 1])

    def format_rate(self, *, confidence: float = 0.95) -> Estimate:
        """Share of tries that are well formed."""
        asked = [self.num_samples] * len(self.formed)
        return korn_graubard_interval(self.formed, asked, confidence=confidence)


def pass_points(
    before: Sequence[PassCounts], after: Sequence[PassCounts], *, confidence: float = 0.95
) -> list[tuple[int, Estimate, Estimate, Estimate]]:
    """pass@k before, after, and the gain, for doubling k; all three on the same redraws of the problems.

    Args:
        before: One a seed, of the same problems.
        after: The same.
    """
    first, then = (np.mean([counts.passes for counts in side], axis=0) for side in (before, after))
    redraws = ClusterBootstrap(len(first), seed=_REDRAWS, confidence=confidence)
    return [
        (
            k,
            redraws.interval(first[:, k - 1]),
            redraws.interval(then[:, k - 1]),
            redraws.interval(then[:, k - 1] - first[:, k - 1], least=-1.0),
        )
        for k in tries(first.shape[1])
    ]


def probe_model(probe: Probe, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Let a model try dev problems as the step draws its attempts, and count."""
    task = task_of(context, probe.on)
    problems = list(task.problems("dev", seed=context.seed("probe"), count=probe.size.problems))
    generator = open_answerer(context, probe.model, events)
    try:
        report = collect(
            task,
            problems,
            generator,
            probe.sampling,
            num_samples=probe.size.num_samples,
            seed=context.seed("probe", "draw"),
            directory=stage.path / "attempts",
            events=events,
        )
    finally:
        generator.close()
    counts = _counted(stage, [problem.id for problem in problems], probe.size.num_samples)
    write_json(stage.path / "counts.json", counts.to_json())
    shown = [f"pass@{k} {counts.at(k).value:.0%}" for k in dict.fromkeys((1, tries(counts.num_samples)[-1]))]
    return {
        "rows": report.rows_digest,
        "compute": drawing_compute(context, probe.model, report.num_tokens).to_json(),
        "summary": ", ".join((*shown, f"format {counts.format_rate().value:.0%}")),
    }


def counts_of(stage: StageDirectory) -> PassCounts:
    """What a probe counted."""
    return stage.read("counts.json", PassCounts)


def _counted(stage: StageDirectory, problem_ids: Sequence[str], num_samples: int) -> PassCounts:
    right, formed = (dict.fromkeys(problem_ids, 0) for _ in range(2))
    num_unscored = 0
    for attempt, verdict in read_attempts(stage.path / "attempts"):
        right[attempt.problem_id] += verdict.status == "correct"
        formed[attempt.problem_id] += verdict.status in ("correct", "wrong") and attempt.finish_reason == "stop"
        num_unscored += verdict.status == "unscored"
    return PassCounts(
        num_samples=num_samples, right=tuple(right.values()), formed=tuple(formed.values()), num_unscored=num_unscored
    )


def not_ready(counts: PassCounts) -> list[str]:
    """Why a longer cold start would be better; the measure is pass@8, or at as many tries as there are."""
    k = min(8, counts.num_samples)
    solved, formed = counts.at(k).value, counts.format_rate().value
    found = []
    if solved < LEAST_PASS_AT_8:
        found.append(f"pass@{k} is {solved:.0%}, below {LEAST_PASS_AT_8:.0%}: most groups will earn no reward")
    if formed < LEAST_FORMAT:
        found.append(f"{formed:.0%} of the answers can be read, below {LEAST_FORMAT:.0%}: tune longer first")
    return found
