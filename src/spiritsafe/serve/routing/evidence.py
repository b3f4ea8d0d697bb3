"""What a router learns from: graded attempts of several rungs at the same dev problems.

In: finished collections, one a rung. Out: :class:`RouteEvidence`: for each rung, problem and sample whether it was
right, what it cost and how sure the rung was. Problems of exams are never among them: :func:`read_evidence` draws the
prompts again from the dev bucket of the attempts' task and refuses attempts at anything else; who has the problems
himself, drawn from another bucket than an exam's, gives their prompts to :func:`evidence_of`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np

from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.core.records import Attempt, Message, Sampling
from spiritsafe.rollouts import read_attempts, read_endings
from spiritsafe.serve.routing.features import features_of
from spiritsafe.stats import Floats
from spiritsafe.tasks import NoMoreProblemsError, Task, load_named

RouteCost = Literal["bytes", "seconds", "tokens"]
"""What an answer costs: the rung's bytes, its seconds, or its bytes times the tokens that it drew."""

LEAST_PROBLEMS = 50
"""Problems without which nothing can be said of chances."""

CONFIDENCE = ("mean log-probability", "lowest log-probability", "log tokens", "ended")
"""How sure a rung was of its answer, as a cascade sees it."""


@final
@dataclass(frozen=True, kw_only=True)
class RouteEvidence:
    """Attempts of rungs, cheapest first, at problems.

    Attributes:
        names: Of the rungs.
        digests: Of the rungs' models.
        samplings: How each rung's attempts were drawn.
        collections: Digest of what each rung's collection was made of.
        features_PX: Of the prompts.
        right_RPS: 1, 0, or NaN where an attempt has no grade.
        costs_RPS: Of each attempt.
        confidence_RPSC: :data:`CONFIDENCE`; NaN where log-probabilities are not known.
    """

    task: str
    cost: RouteCost
    names: tuple[str, ...]
    digests: tuple[str, ...]
    samplings: tuple[Sampling, ...]
    collections: tuple[str, ...]
    problems: tuple[str, ...]
    features_PX: Floats
    right_RPS: Floats
    costs_RPS: Floats
    confidence_RPSC: Floats


def confidence_of(logprobs: Sequence[float], *, has_ended: bool) -> Floats:
    """:data:`CONFIDENCE` of one answer; NaN where no log-probabilities are known."""
    if not logprobs:
        return np.full(len(CONFIDENCE), math.nan)
    values = np.asarray(logprobs, dtype=np.float64)
    return np.array([values.mean(), max(values.min(), -30.0), math.log1p(values.size), float(has_ended)])


def read_evidence(
    directories: Sequence[Path], *, cost: RouteCost = "seconds", sizes: Sequence[int] = (), names: Sequence[str] = ()
) -> RouteEvidence:
    """Read collections of the same problems by different models.

    Args:
        directories: Finished collections (``spiritsafe sample … --out``), one a rung.
        cost: What the rungs are put in order by, and the curve's other axis.
        sizes: Bytes of the rungs, in the order of the directories; needed for "bytes" and "tokens".
        names: Of the rungs; those of the directories when left out.

    Raises:
        SourceError: A directory holds no finished collection.
        CompatibilityError: The collections are of different tasks or problems, of one model twice, not of the dev
            bucket, too few, or without what the cost is measured by.
    """
    read = _read_all(directories, cost, sizes)
    prompts = _dev_prompts(read.task, read.seeds, list(read.tables[0]))
    return _evidence(read, prompts, cost, sizes, list(names) or [directory.name for directory in directories])


def evidence_of(
    directories: Sequence[Path],
    prompts: Mapping[str, tuple[Message, ...]],
    *,
    cost: RouteCost,
    sizes: Sequence[int],
    names: Sequence[str],
) -> RouteEvidence:
    """Read collections of problems whose prompts are known, by their ids; where they were drawn from is not looked at.

    Raises:
        SourceError: A directory holds no finished collection.
        CompatibilityError: As of :func:`read_evidence`, or the collections are not of these problems.
    """
    return _evidence(_read_all(directories, cost, sizes), prompts, cost, sizes, names)


EvidenceRow = tuple[list[float], list[list[float]], list[list[float]]]


@final
@dataclass(frozen=True, kw_only=True)
class _Collections:
    """What some collections hold, in their order; all are of one task."""

    task: str
    digests: list[str]
    samplings: list[Sampling]
    collections: list[str]
    seeds: list[int]
    tables: list[dict[str, EvidenceRow]]


def _read_all(directories: Sequence[Path], cost: RouteCost, sizes: Sequence[int]) -> _Collections:
    manifests = [read_endings(directory)[0] for directory in directories]
    _check([(one.task, one.num_samples) for one in manifests], [one.model for one in manifests], cost, sizes)
    return _Collections(
        task=manifests[0].task,
        digests=[one.model for one in manifests],
        samplings=[one.sampling for one in manifests],
        collections=[one.content_digest for one in manifests],
        seeds=[one.seed for one in manifests],
        tables=[_read(directory, manifests[0].num_samples) for directory in directories],
    )


def _evidence(
    read: _Collections,
    prompts: Mapping[str, tuple[Message, ...]],
    cost: RouteCost,
    sizes: Sequence[int],
    names: Sequence[str],
) -> RouteEvidence:
    tables = read.tables
    if any(table.keys() != prompts.keys() for table in tables):
        raise CompatibilityError(
            "The collections are of different problems.", hint="Sample with the same --seed and --problems."
        )
    factors = [float(size) for size in sizes] or [1.0] * len(tables)
    right, costs, confidence = (
        np.array([[table[name][part] for name in prompts] for table in tables]) for part in range(3)
    )
    costs = _costs(costs, cost, factors)
    known = ~np.isnan(right).any(axis=(0, 2))
    if known.sum() < LEAST_PROBLEMS:
        raise CompatibilityError(
            f"{int(known.sum())} problems have graded attempts of all rungs; a router needs {LEAST_PROBLEMS}.",
            hint="Sample more problems: some hundreds are few.",
        )
    order = np.argsort([costs[rung][known].mean() for rung in range(len(tables))], kind="stable").tolist()
    problems = [name for name, is_known in zip(prompts, known, strict=True) if is_known]
    return RouteEvidence(
        task=read.task,
        cost=cost,
        names=tuple(names[rung] for rung in order),
        digests=tuple(read.digests[rung] for rung in order),
        samplings=tuple(read.samplings[rung] for rung in order),
        collections=tuple(read.collections[rung] for rung in order),
        problems=tuple(problems),
        features_PX=np.array([features_of(prompts[name]) for name in problems]),
        right_RPS=right[order][:, known],
        costs_RPS=costs[order][:, known],
        confidence_RPSC=confidence[order][:, known],
    )


def _check(asked: Sequence[tuple[str, int]], models: Sequence[str], cost: RouteCost, sizes: Sequence[int]) -> None:
    """Refuse collections that cannot be held against each other."""
    if len(models) < 2:
        raise CompatibilityError(
            f"{len(models)} collection was named.",
            hint="A router chooses: name the attempts of two rungs or more.",
        )
    if sizes and len(sizes) != len(models):
        raise CompatibilityError(
            f"{len(sizes)} sizes were given for {len(models)} rungs.", hint="Give one for each, in their order."
        )
    if cost != "seconds" and not sizes:
        raise CompatibilityError(f"A cost in {cost} needs the rungs' bytes.", hint="Give --bytes once for each rung.")
    if len(set(asked)) > 1:
        raise CompatibilityError(
            "The collections are of different tasks or numbers of samples.",
            hint="Sample the same problems with each rung, in the same way.",
        )
    if len(set(models)) < len(models):
        raise CompatibilityError("Two collections are of one model.", hint="Name one collection for each rung.")


def _read(directory: Path, num_samples: int) -> dict[str, EvidenceRow]:
    """By problem: right or not, seconds and tokens, and confidence, each sample by sample."""
    table: dict[str, EvidenceRow] = {}
    for attempt, verdict in read_attempts(directory):
        right, costs, confidence = table.setdefault(attempt.problem_id, ([], [], []))
        right.append(math.nan if verdict.status == "unscored" else float(verdict.status == "correct"))
        costs.append([attempt.seconds, float(attempt.num_tokens)])
        confidence.append(_confidence(attempt).tolist())
    if any(len(right) != num_samples for right, _, _ in table.values()):
        raise SourceError(f"{directory} is unfinished.", hint="Run the command that collected it again.")
    return table


def _confidence(attempt: Attempt) -> Floats:
    return confidence_of(attempt.logprobs, has_ended=attempt.finish_reason == "stop")


def _costs(measured_RPSM: Floats, cost: RouteCost, sizes: Sequence[float]) -> Floats:
    by_rung = np.asarray(sizes)[:, None, None]
    if cost == "bytes":
        costs: Floats = np.broadcast_to(by_rung, measured_RPSM.shape[:3]).copy()
        return costs
    costs = measured_RPSM[..., 0] if cost == "seconds" else measured_RPSM[..., 1] * by_rung
    if not costs.any(axis=(1, 2)).all():
        raise CompatibilityError(
            f"Attempts of a rung have no {cost}.", hint="Use --cost bytes, with --bytes once for each rung."
        )
    return costs


def _dev_prompts(task_name: str, seeds: Sequence[int], wanted: Sequence[str]) -> dict[str, tuple[Message, ...]]:
    """The prompts of attempted problems, drawn again from the dev bucket: there are no others here.

    Raises:
        CompatibilityError: Some of the problems are not in it.
    """
    task = load_named(task_name)
    left = set(wanted)
    prompts: dict[str, tuple[Message, ...]] = dict.fromkeys(wanted, ())  # in the order of the attempts
    for seed in dict.fromkeys(seeds):
        for problem_id, messages in _drawn(task, seed, 2 * len(wanted)):
            if problem_id in left:
                prompts[problem_id] = messages
                left.discard(problem_id)
        if not left:
            return prompts
    raise CompatibilityError(
        f"{len(left)} of {len(wanted)} problems are not among the dev problems of {task_name}.",
        hint="A router learns from dev attempts alone, never from what was trained on and never from an exam: "
        "spiritsafe sample TASK --split dev.",
    )


def _drawn(task: Task, seed: int, count: int) -> list[tuple[str, tuple[Message, ...]]]:
    drawn = []
    try:
        for problem in itertools.islice(task.problems("dev", seed=seed, count=None if task.finite else count), 10**6):
            drawn.append((problem.id, problem.messages))
    except NoMoreProblemsError:  # the family has fewer; what it has was drawn
        pass
    return drawn
