"""Task × Generator → graded Attempts on disk, resumable.

In: a task, problems, a Generator, how to sample. Out: Parquet shards of attempts with their verdicts, and a
:class:`CollectReport`. A shard is one ``generate()`` call over its problems, made from scratch and written at once, so
a killed and repeated collection ends in the same files as an unbroken one (but for the seconds that things took); one
that goes on on another platform says so, in ``platforms.json`` too.
Attempts are graded while later ones are still being drawn.

What an endpoint answers costs money, so it is kept as it comes, also of a shard that is not whole yet; a repeated
collection asks for the rest. What failed there ("error": no connection, no usable answer after all tries) is asked
again by a repeated collection; what its operator refused ("refused") is an answer and stays.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Protocol, final

from pydantic import Field

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import CompatibilityError, EndpointError, RecipeError, TaskError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.atomic import ensure_directory, storage_errors
from spiritsafe.core.files.lock import OTHERS_WORK_S, locked
from spiritsafe.core.generator import Budgeted, Generator, Listing, Located
from spiritsafe.core.process.platforms import continue_in
from spiritsafe.core.records import Attempt, Problem, Prompt, Record, Sampling, Verdict
from spiritsafe.rollouts.attempts.shards import (
    Manifest,
    ShardEntry,
    is_finished,
    read_columns,
    read_manifest,
    read_shard,
    rows_digest,
    write_manifest,
    write_shard,
)
from spiritsafe.rollouts.attempts.top_logprobs import TopLogprobs
from spiritsafe.rollouts.attempts.unfinished import UnfinishedShard

_PROGRESS_EVERY_S = 0.1


class NamedVerifier(Protocol):
    """What tells one verifier from another."""

    @property
    def name(self) -> str:
        """Name of the verifier."""
        ...

    @property
    def version(self) -> str:
        """Its version."""
        ...


class Grader(Protocol):
    """What collection needs of a task; every ``tasks.Task`` is one."""

    @property
    def name(self) -> str:
        """Canonical name, parameters included."""
        ...

    @property
    def version(self) -> str:
        """Version of the task's problems."""
        ...

    @property
    def verifier(self) -> NamedVerifier:
        """The only grader of these problems."""
        ...

    def grade(self, problem: Problem, text: str) -> Verdict:
        """Judge a text; never raises, never takes long."""
        ...


@final
class CollectReport(Record):
    """What a collection holds once it is finished; the same however often it was interrupted.

    Attributes:
        num_unscored: Attempts without a grade: ``num_errors``, and those whose verifier broke.
        num_truncated: Attempts that ran into ``max_tokens``, whatever their grade.
        num_skipped_shards: Shards that an earlier call had finished (the one field that depends on history).
        rows_digest: Digest of all rows but for their seconds; equal for equal collections.
    """

    num_problems: int = Field(ge=0)
    num_attempts: int = Field(ge=0)
    num_correct: int = Field(ge=0)
    num_wrong: int = Field(ge=0)
    num_unparsed: int = Field(ge=0)
    num_unscored: int = Field(ge=0)
    num_truncated: int = Field(ge=0)
    num_refused: int = Field(ge=0)
    num_errors: int = Field(ge=0)
    num_prompt_tokens: int = Field(ge=0)
    num_tokens: int = Field(ge=0)
    num_shards: int = Field(ge=0)
    num_skipped_shards: int = Field(ge=0)
    rows_digest: str

    @property
    def pass_rate(self) -> float | None:
        """Share of scored attempts that are correct; None when none was scored."""
        scored = self.num_attempts - self.num_unscored
        return self.num_correct / scored if scored else None


def grade_attempt(task: Grader, problem: Problem, attempt: Attempt) -> Verdict:
    """The task's verdict on an attempt; an attempt that failed has no text to judge and is "unscored"."""
    if attempt.finish_reason == "error":
        return Verdict(
            status="unscored",
            score=0.0,
            reason=f"no attempt: {attempt.error or 'unknown error'}",
            verifier=task.verifier.name,
            version=task.verifier.version,
        )
    return task.grade(problem, attempt.text)


def collect(
    task: Grader,
    problems: Iterable[Problem],
    generator: Generator,
    sampling: Sampling,
    *,
    num_samples: int,
    seed: int,
    directory: Path,
    shard_size: int = 64,
    events: EventSink | None = None,
) -> CollectReport:
    """Draw and grade ``num_samples`` attempts at each problem; keep them in ``directory``.

    Repeat the call to go on after an interruption. Attempts that failed ("error") are kept as they are by this call; a
    repeated one asks an endpoint again for them, and for nothing that it answered or refused.

    Args:
        problems: What to attempt; read to the end before the first attempt.
        seed: Root of the samples' seeds.
        directory: Where the shards go; made if missing.
        shard_size: Problems a shard: the most work that an interruption can lose, where no endpoint is asked.
        events: Hears of progress, and of each finished shard.

    Raises:
        TaskError: No problems, or one of them twice.
        RecipeError: A count is not positive.
        CompatibilityError: The directory holds a collection of other inputs, or one begun in another number format.
        EndpointError: The Generator is unusable; finished shards stay, and all that an endpoint answered.
        BudgetError: An endpoint's budget is used up; the same stays.
        IntegrityError: Answers that were kept are damaged.
        StorageError: The directory cannot be written; finished shards stay.
    """
    todo = list(problems)
    if num_samples < 1 or shard_size < 1:
        raise RecipeError(f"num_samples is {num_samples}, shard_size {shard_size}.", hint="Both must be at least 1.")
    if not todo:
        raise TaskError(f"There are no problems of {task.name} to attempt.", hint="Ask for at least one problem.")
    if len({problem.id for problem in todo}) < len(todo):
        raise TaskError(f"A problem of {task.name} was given twice.", hint="Give each problem once.")
    manifest = _manifest(task, todo, generator, sampling, num_samples=num_samples, seed=seed, shard_size=shard_size)
    ensure_directory(directory)
    with locked(directory / ".lock", wait_s=OTHERS_WORK_S):
        _claim(directory, manifest)
        progress = _Progress(events or NullSink(), len(todo) * num_samples)
        finished = [is_finished(directory, manifest, index) for index in range(len(manifest.shards))]
        is_remote = generator.describe().kind == "remote"
        if is_remote:
            finished = [done and not _failures(directory, manifest, index) for index, done in enumerate(finished)]
        _count_earlier(directory, manifest, generator)
        num_skipped = sum(finished)
        if num_skipped < len(finished) and isinstance(generator, Located) and (platform := generator.platform()):
            what = f"The collection in {directory}"
            continue_in(directory, platform, what=what, is_begun=num_skipped > 0, events=events)
        for index, is_done in enumerate(finished):
            shard = todo[index * shard_size : (index + 1) * shard_size]
            if is_done:
                progress.skip(len(shard) * num_samples)
                continue
            kept = _kept(directory, manifest, index) if is_remote else []
            unfinished = UnfinishedShard(directory, manifest, index) if is_remote else None
            rows = _draw(task, shard, generator, manifest, progress, kept, unfinished, TopLogprobs(directory))
            write_shard(directory, manifest, index, rows)
            if unfinished is not None:
                unfinished.remove()
            progress.shard(index, rows)
        progress.show()
        return _report(directory, manifest, num_problems=len(todo), num_skipped=num_skipped)


def _manifest(
    task: Grader,
    problems: Sequence[Problem],
    generator: Generator,
    sampling: Sampling,
    *,
    num_samples: int,
    seed: int,
    shard_size: int,
) -> Manifest:
    starts = range(0, len(problems), shard_size)
    shards = [problems[start : start + shard_size] for start in starts]
    return Manifest(
        task=task.name,
        version=task.version,
        verifier=f"{task.verifier.name}/{task.verifier.version}",
        model=generator.describe().digest,
        sampling=sampling,
        num_samples=num_samples,
        seed=seed,
        shard_size=shard_size,
        shards=tuple(
            ShardEntry(
                file=f"shard-{index:05d}.parquet",
                num_problems=len(shard),
                problems=digest([problem.content_digest for problem in shard]),
            )
            for index, shard in enumerate(shards)
        ),
    )


def _claim(directory: Path, manifest: Manifest) -> None:
    """Make sure that the directory is this collection's, and free of what killed writers left."""
    found = read_manifest(directory)
    if found is None:
        if any(directory.glob("shard-*.parquet")):
            raise CompatibilityError(
                f"{directory} holds shards without a manifest.", hint="Choose another directory, or remove them."
            )
        write_manifest(directory, manifest)
    elif found != manifest:
        given, held = manifest.to_json(), found.to_json()
        name = next(name for name in given if given[name] != held[name])
        detail = "" if name == "shards" else f" ({held[name]!r} there, {given[name]!r} now)"
        what = "problems" if name == "shards" else name
        raise CompatibilityError(
            f"{directory} holds a collection with another {what}{detail}.",
            hint="Choose another directory, or remove this one if it is no longer wanted.",
        )
    with storage_errors(directory):
        for left_behind in directory.glob(".shard-*.tmp"):
            left_behind.unlink()


def _failures(directory: Path, manifest: Manifest, index: int) -> bool:
    """Whether a finished shard holds attempts that failed."""
    return "error" in read_columns(directory, manifest, ("finish_reason",), shards=[index])["finish_reason"]


def _kept(directory: Path, manifest: Manifest, index: int) -> list[tuple[Attempt, Verdict]]:
    """What an endpoint answered before in a shard: in the shard itself, and what was kept since."""
    before = read_shard(directory, manifest, index) if is_finished(directory, manifest, index) else ()
    rows = [*before, *UnfinishedShard(directory, manifest, index).read()]
    return [(attempt, verdict) for attempt, verdict in rows if attempt.finish_reason != "error"]


def _count_earlier(directory: Path, manifest: Manifest, generator: Generator) -> None:
    """A budget counts over all days: what the answers on disk took is used."""
    if not isinstance(generator, Budgeted):
        return
    finished = [index for index in range(len(manifest.shards)) if is_finished(directory, manifest, index)]
    columns = read_columns(directory, manifest, ("num_prompt_tokens", "num_tokens"), shards=finished)
    num_prompt_tokens, num_tokens = sum(columns["num_prompt_tokens"]), sum(columns["num_tokens"])
    for index in range(len(manifest.shards)):
        for attempt, _ in UnfinishedShard(directory, manifest, index).read():
            num_prompt_tokens += attempt.num_prompt_tokens
            num_tokens += attempt.num_tokens
    generator.count_earlier(str(directory.resolve()), num_prompt_tokens, num_tokens)


def _prompts(
    shard: Sequence[Problem], manifest: Manifest, graded: Mapping[tuple[str, int], object]
) -> Iterator[Prompt]:
    """What is to be asked: each run of samples of a problem that is not there."""
    for problem in shard:
        missing = [index for index in range(manifest.num_samples) if (problem.id, index) not in graded]
        for _, run in groupby(enumerate(missing), key=lambda pair: pair[1] - pair[0]):
            indices = [index for _, index in run]
            yield Prompt(
                problem_id=problem.id,
                messages=problem.messages,
                num_samples=len(indices),
                first_sample=indices[0],
                seed=manifest.seed,
            )


def _draw(
    task: Grader,
    shard: Sequence[Problem],
    generator: Generator,
    manifest: Manifest,
    progress: _Progress,
    kept: Sequence[tuple[Attempt, Verdict]],
    unfinished: UnfinishedShard | None,
    top_logprobs: TopLogprobs,
) -> list[tuple[Attempt, Verdict]]:
    """One shard's attempts, graded, in order of problem and sample; those that are kept are not drawn."""
    by_id = {problem.id: problem for problem in shard}
    waiting = {(problem.id, index) for problem in shard for index in range(manifest.num_samples)}
    graded: dict[tuple[str, int], tuple[Attempt, Verdict]] = {}
    for attempt, verdict in kept:
        key = (attempt.problem_id, attempt.sample_index)
        if key in waiting:
            graded[key] = (attempt, verdict)
    waiting -= graded.keys()
    progress.skip(len(graded))
    prompts = list(_prompts(shard, manifest, graded))
    for attempt in generator.generate(prompts, manifest.sampling) if prompts else ():
        key = (attempt.problem_id, attempt.sample_index)
        if key not in waiting:
            raise EndpointError(
                f"The generator gave an attempt at {key[0]}, sample {key[1]}, that was not asked for.",
                hint="Report this to the generator's author.",
            )
        waiting.remove(key)
        verdict = grade_attempt(task, by_id[attempt.problem_id], attempt)
        graded[key] = (attempt, verdict)
        if isinstance(generator, Listing) and (tokens := generator.take_listing(*key)) is not None:
            top_logprobs.add(attempt, tokens)
        if unfinished is not None and attempt.finish_reason != "error":
            unfinished.add(attempt, verdict)
        progress.add(correct=verdict.status == "correct")
    if waiting:
        raise EndpointError(
            f"The generator ended with {len(waiting)} attempts missing.", hint="Report this to the generator's author."
        )
    return [graded[problem.id, index] for problem in shard for index in range(manifest.num_samples)]


@final
class _Progress:
    """Tells the sink, not too often."""

    def __init__(self, events: EventSink, total: int) -> None:
        self._events = events
        self._total = total
        self._done = 0
        self._drawn = 0
        self._correct = 0
        self._last = -_PROGRESS_EVERY_S

    def skip(self, count: int) -> None:
        if count:
            self._done += count
            self.show()

    def add(self, *, correct: bool) -> None:
        self._done += 1
        self._drawn += 1
        self._correct += correct
        now = time.monotonic()
        if now - self._last >= _PROGRESS_EVERY_S:
            self._last = now
            self.show()

    def show(self) -> None:
        note = f"{self._correct} of {self._drawn} correct" if self._drawn else ""
        self._events.progress(self._done, self._total, "attempts", note)

    def shard(self, index: int, rows: Sequence[tuple[Attempt, Verdict]]) -> None:
        self._events.metrics(
            "shard",
            {
                "shard": index,
                "num_attempts": len(rows),
                "num_correct": sum(verdict.status == "correct" for _, verdict in rows),
                "num_errors": sum(attempt.finish_reason == "error" for attempt, _ in rows),
                "num_tokens": sum(attempt.num_tokens for attempt, _ in rows),
            },
        )


def _report(directory: Path, manifest: Manifest, *, num_problems: int, num_skipped: int) -> CollectReport:
    columns = read_columns(directory, manifest, ("verdict_status", "finish_reason", "num_prompt_tokens", "num_tokens"))
    status, finish = Counter(columns["verdict_status"]), Counter(columns["finish_reason"])
    return CollectReport(
        num_problems=num_problems,
        num_attempts=len(columns["verdict_status"]),
        num_correct=status["correct"],
        num_wrong=status["wrong"],
        num_unparsed=status["unparsed"],
        num_unscored=status["unscored"],
        num_truncated=finish["length"],
        num_refused=finish["refused"],
        num_errors=finish["error"],
        num_prompt_tokens=sum(columns["num_prompt_tokens"]),
        num_tokens=sum(columns["num_tokens"]),
        num_shards=len(manifest.shards),
        num_skipped_shards=num_skipped,
        rows_digest=rows_digest(directory, manifest),
    )
