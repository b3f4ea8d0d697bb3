"""Results of other tools, as practice: counted as an exam counts, and never more than practice.

In: what :mod:`~spiritsafe.exam.interop.inspect_log` and :mod:`~spiritsafe.exam.interop.lm_eval_log` read. Out: one
JSON-lines file, a :class:`PracticeHeader` and then one :class:`PracticeAnswer` a try; its score with an interval; two
models compared problem by problem. Nothing was sealed or registered, so nothing that seals, sits, certifies or verifies
imports this module (a contract checks it), and none of them reads such a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final, get_args

from pydantic import Field

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import CompatibilityError, IntegrityError, SourceError, SpiritsafeError
from spiritsafe.core.files.atomic import write_bytes
from spiritsafe.core.files.reading import parse_json
from spiritsafe.core.files.record_files import read_file
from spiritsafe.core.records import Attempt, Digest, Record, Verdict, omit_default
from spiritsafe.exam.records.terms import OutcomeStatus
from spiritsafe.exam.sitting.answers import how_it_ended
from spiritsafe.stats import Estimate, PairedDifference, paired_difference, score_interval
from spiritsafe.tasks import normalise

PRACTICE_STATEMENT = (
    "This is practice: nothing was sealed and nothing was registered before it ran, so nothing says that the problems "
    "were unknown to the model, or how many runs were left unreported. It can never become part of a certificate."
)

_MOST_NOT_RUN = 100_000


class PracticeHeader(Record):
    """The first line of a practice file.

    Attributes:
        tool: Name and version of what ran it.
        scorer: What graded it, as the tool names it.
        file: Name of the imported file.
        file_digest: Digest of its bytes.
        num_problems: Planned, whatever became of them.
        num_tries: Planned for each problem.
        remarks: What a reader should know about the import.
    """

    format: Literal["spiritsafe.practice/1"] = "spiritsafe.practice/1"
    evidence: Literal["practice"] = "practice"
    tool: str
    task: str
    model: str
    scorer: str
    file: str
    file_digest: Digest
    num_problems: int = Field(ge=1)
    num_tries: int = Field(ge=1)
    remarks: tuple[str, ...] = ()

    @property
    def kind(self) -> tuple[str, ...]:
        """What two runs must share to be compared: tool (of any version), task, scorer, tries."""
        return (self.tool.split(" ")[0], self.task, self.scorer, f"{self.num_tries} tries")


class PracticeAnswer(Record):
    """One try at one problem.

    Attributes:
        sample: The tool's id of the problem.
        asked: Digest of what was asked and wanted; None where the tool has no record of the try.
        verdict: What the tool's scorer said; None where there was nothing to grade.
        texts: Digests of what the question may be called by (:func:`question_digest`): the same in every tool.
    """

    sample: str
    asked: Digest | None
    attempt: Attempt
    verdict: Verdict | None
    texts: tuple[Digest, ...] = omit_default(())

    @property
    def status(self) -> OutcomeStatus:
        """How it ended, by an exam's own rules."""
        return how_it_ended(self.attempt.finish_reason, self.verdict)


@final
@dataclass(frozen=True, slots=True)
class PracticeRun:
    """A practice file: every planned try once, ordered by problem, then try."""

    header: PracticeHeader
    answers: tuple[PracticeAnswer, ...]


@final
@dataclass(frozen=True, slots=True)
class PracticeScores:
    """The numbers of a run.

    Attributes:
        accuracy: Share of fully right answers among all planned tries.
        mean_score: With partial credit, for information.
    """

    accuracy: Estimate
    counts: dict[OutcomeStatus, int]
    mean_score: float


def verdict_of_value(value: float, *, unparsed: bool, answer: str | None, grader: tuple[str, str]) -> Verdict:
    """A scorer's number between 0 and 1 as a verdict; anything but full marks is not right.

    Args:
        value: 1 is full marks; NaN: the scorer could not tell.
        unparsed: The scorer found no answer in the text.
        answer: What it found.
        grader: Name and version.

    Raises:
        CompatibilityError: The number is outside 0 and 1: not the score of an answer.
    """
    verifier, version = grader
    if value != value:  # NaN
        return Verdict(status="unscored", score=0.0, answer=answer, verifier=verifier, version=version)
    if not 0.0 <= value <= 1.0:
        raise CompatibilityError(
            f"{verifier} gave {value:g}: not a score between 0 and 1.",
            hint="Choose another scorer or metric of the file.",
        )
    if value == 1.0:
        return Verdict(status="correct", score=1.0, answer=answer, verifier=verifier, version=version)
    if unparsed and value == 0.0:
        return Verdict(status="unparsed", score=0.0, answer=answer, verifier=verifier, version=version)
    return Verdict(status="wrong", score=value, answer=answer, verifier=verifier, version=version)


def not_run(attempt: Attempt, sample: str) -> PracticeAnswer:
    """A planned try of which the tool has no record: an error, in the denominator as every other."""
    failed = attempt.model_copy(update={"text": "", "finish_reason": "error", "error": "no record of it in the file"})
    return PracticeAnswer(sample=sample, asked=None, attempt=failed, verdict=None)


def _right_by_problem(run: PracticeRun) -> dict[str, int]:
    right: dict[str, int] = {}
    for answer in run.answers:
        right[answer.sample] = right.get(answer.sample, 0) + (answer.status == "correct")
    return right


def score_practice(run: PracticeRun) -> PracticeScores:
    """Accuracy over every planned try, errors included, with an interval that holds (by problem, if asked often)."""
    counts: dict[OutcomeStatus, int] = dict.fromkeys(get_args(OutcomeStatus), 0)
    for answer in run.answers:
        counts[answer.status] += 1
    scores = [answer.verdict.score if answer.verdict else 0.0 for answer in run.answers]
    right = list(_right_by_problem(run).values())
    return PracticeScores(
        accuracy=score_interval(right, trials=run.header.num_tries), counts=counts, mean_score=sum(scores) / len(scores)
    )


def compare_practice(first: PracticeRun, second: PracticeRun) -> PairedDifference:
    """First minus second, problem by problem.

    Raises:
        CompatibilityError: The runs differ in tool, task, scorer, problems or tries.
    """
    hint = "Compare two runs of one task with the same problems, scorer and tries."
    if (one := first.header.kind) != (two := second.header.kind):
        raise CompatibilityError(f"The runs are of two kinds: {', '.join(one)}; and {', '.join(two)}.", hint=hint)
    right, other = _right_by_problem(first), _right_by_problem(second)
    if right.keys() != other.keys():
        raise CompatibilityError(f"{len(right.keys() ^ other.keys())} problems are in one run only.", hint=hint)
    asked = {(answer.sample, answer.attempt.sample_index): answer.asked for answer in second.answers}
    for answer in first.answers:
        theirs = asked[answer.sample, answer.attempt.sample_index]
        if answer.asked and theirs and answer.asked != theirs:
            raise CompatibilityError(f"Problem {answer.sample} was not the same one in both runs.", hint=hint)
    samples = list(right)
    return paired_difference(
        [right[sample] for sample in samples], [other[sample] for sample in samples], trials=first.header.num_tries
    )


def write_practice(path: Path, run: PracticeRun) -> None:
    """Write the file, whole or not at all.

    Raises:
        StorageError: It cannot be written.
    """
    write_bytes(path, b"".join(record.canonical() + b"\n" for record in (run.header, *run.answers)))


def load_practice(path: Path) -> PracticeRun:
    """Read a file that :func:`write_practice` wrote.

    Raises:
        SourceError: It cannot be read.
        IntegrityError: It is no such file, or tries are missing.
    """
    hint = "Import the tool's own file again with `spiritsafe exam import`."
    lines = read_file(path).splitlines()
    try:
        first, *rest = [parse_json(line, path) for line in lines]
    except (SourceError, ValueError) as error:  # ValueError: there is no line
        raise IntegrityError(f"{path} is no practice file.", hint=hint) from error
    run = PracticeRun(PracticeHeader.from_json(first), tuple(PracticeAnswer.from_json(value) for value in rest))
    check_whole(run, str(path))
    return run


def check_whole(run: PracticeRun, what: str) -> None:
    """Check that every planned try is there once.

    Raises:
        IntegrityError: One is missing, doubled, or was not planned.
    """
    header = run.header
    tries = {(answer.sample, answer.attempt.sample_index) for answer in run.answers}
    samples = {sample for sample, _ in tries}
    planned = header.num_problems * header.num_tries
    indices_fit = all(index < header.num_tries for _, index in tries)
    if len(run.answers) != planned or len(tries) != planned or len(samples) != header.num_problems or not indices_fit:
        raise IntegrityError(
            f"{what} has {len(tries)} different tries at {len(samples)} problems; "
            f"{header.num_problems} problems with {header.num_tries} tries each were planned.",
            hint="The file is damaged, or was written by a version of the tool that is not known here.",
        )


def check_planned(num_planned: int, num_found: int, path: Path) -> None:
    """Refuse a file that plans tries without end: each takes its place in memory, whether it was run or not.

    Raises:
        SourceError: It plans many more than it holds.
    """
    if num_planned > num_found + _MOST_NOT_RUN:
        raise SourceError(
            f"{path} holds {num_found:,} tries and says that {num_planned:,} were planned.",
            hint="Import the log of a run that was carried on to its end.",
        )


def as_source_error(path: Path, what: str) -> SourceError:
    """The error for a file that is not what its name says."""
    return SourceError(f"{path} is no {what}.", hint="Give the file as the tool wrote it.")


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """What a foreign file lacks, or holds in another form than its tool writes, becomes one error.

    Raises:
        SourceError: The block failed on the form of what it read.
    """
    try:
        yield
    except SpiritsafeError:  # some of these are ValueErrors too, and already say what to do
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise as_source_error(path, what) from error


def text_of(value: Any) -> str:
    """The text of a message's content: itself, or its text parts joined."""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return "".join(str(part.get("text", "")) for part in value if isinstance(part, dict))
    return ""


def question_digest(text: str) -> Digest:
    """What a question is known by across tools: its text in one spelling, whatever its white space."""
    return digest({"text": " ".join(normalise(text).split())})


def last_question(messages: Sequence[Any]) -> str:
    """The text of the last user's message; "" where there is none."""
    asked = [
        message.get("content") for message in messages if isinstance(message, dict) and message.get("role") == "user"
    ]
    return text_of(asked[-1]) if asked else ""
