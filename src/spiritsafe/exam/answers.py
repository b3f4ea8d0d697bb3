"""Answers: asking a Generator, grading what comes back, and the encrypted journal that survives a kill.

In: problems, a registration, a Generator, a Task. Out: one :class:`Answer` for each try, and an
:class:`~spiritsafe.core.certificates.Outcome` that names its status and commits to it without showing it.
Exercised by ``pytest tests/unit/exam/test_answers.py``.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import final

from spiritsafe.core.canonical import JSON, canonical_json, digest
from spiritsafe.core.certificates import Half, Outcome, OutcomeStatus, PaperProblem, Registration
from spiritsafe.core.errors import EndpointError, IntegrityError, ProcedureError
from spiritsafe.core.files import append_line, storage_errors
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Attempt, Prompt, Record, Verdict
from spiritsafe.exam.paper import keyed_salt
from spiritsafe.exam.recordfile import parse_record, read_file
from spiritsafe.ledger import KeyPair, encrypt
from spiritsafe.tasks import Task

__all__ = ["Answer", "Journal", "Try", "ask", "outcome_of", "status_of"]

Try = tuple[int, int]
"""(place in the bank, sample index)."""


class Answer(Record):
    """One try: what the model wrote and what the verifier said (None when there was nothing to grade)."""

    index: int
    sample_index: int
    attempt: Attempt
    verdict: Verdict | None

    def __repr__(self) -> str:  # never the text: a traceback or a log must not show a sealed problem's answer
        return f"Answer(index={self.index}, sample_index={self.sample_index})"

    __str__ = __repr__


def status_of(answer: Answer) -> OutcomeStatus:
    """How a try ended; a cut-off try counts as truncated unless it was right all the same."""
    if answer.attempt.finish_reason == "error":
        return "error"
    if answer.attempt.finish_reason == "refused" or answer.verdict is None:
        return "refused"
    if answer.attempt.finish_reason == "length" and answer.verdict.status in ("wrong", "unparsed"):
        return "truncated"
    return answer.verdict.status


def outcome_of(answer: Answer, half: Half, *, secret: str, registration: str) -> Outcome:
    """The public side of an answer.

    Args:
        answer: The try.
        half: Where its problem is.
        secret: The paper's secret, which salts the commitment.
        registration: Digest of the registration, so that no two sittings share a salt.
    """
    attempt: dict[str, JSON] = answer.attempt.to_json()
    del attempt["seconds"]  # the clock is no part of what was answered
    verdict = answer.verdict.to_json() if answer.verdict else None
    salt = keyed_salt(secret, "answer", registration, answer.index, answer.sample_index)
    return Outcome(
        index=answer.index,
        half=half,
        sample_index=answer.sample_index,
        status=status_of(answer),
        score=answer.verdict.score if answer.verdict else 0.0,
        num_prompt_tokens=answer.attempt.num_prompt_tokens,
        num_tokens=answer.attempt.num_tokens,
        commitment=digest({"salt": salt, "attempt": attempt, "verdict": verdict}).removeprefix("sha256:"),
    )


def _prompts(
    problems: Mapping[int, PaperProblem], registration: Registration, wanted: Sequence[Try]
) -> Iterator[Prompt]:
    """One prompt for each run of neighbouring samples, in bank order."""
    runs: list[list[int]] = []  # [index, first sample, samples]
    for index, sample in sorted(wanted):
        if runs and runs[-1][0] == index and runs[-1][1] + runs[-1][2] == sample:
            runs[-1][2] += 1
        else:
            runs.append([index, sample, 1])
    for index, first, samples in runs:
        problem = problems[index].problem
        yield Prompt(
            problem_id=problem.id,
            messages=problem.messages,
            num_samples=samples,
            first_sample=first,
            seed=registration.seed,
        )


def ask(
    problems: Mapping[int, PaperProblem],
    registration: Registration,
    wanted: Sequence[Try],
    generator: Generator,
    task: Task,
) -> Iterator[Answer]:
    """Ask the wanted tries, grade each answer as it comes.

    Raises:
        EndpointError: The Generator answered what nobody asked, sampled otherwise than registered, or ended early.
    """
    index_of = {problems[index].problem.id: index for index, _ in wanted}
    left = set(wanted)
    hint = "The Generator breaks its protocol; the answers so far are kept: repair it and run the same command again."
    for attempt in generator.generate(list(_prompts(problems, registration, wanted)), registration.sampling):
        index = index_of.get(attempt.problem_id, -1)
        if (index, attempt.sample_index) not in left:
            raise EndpointError(f"{registration.model_name} answered something that was not asked.", hint=hint)
        if attempt.sampling != registration.sampling:
            raise EndpointError(f"{registration.model_name} did not sample as registered.", hint=hint)
        left.remove((index, attempt.sample_index))
        graded = attempt.finish_reason in ("stop", "length")
        verdict = task.grade(problems[index].problem, attempt.text) if graded else None
        yield Answer(index=index, sample_index=attempt.sample_index, attempt=attempt, verdict=verdict)
    if left:
        raise EndpointError(f"{registration.model_name} left {len(left)} of {len(wanted)} tries open.", hint=hint)


class _JournalLine(Record):
    """What a line of the journal decrypts to; the mark keeps forged answers out (encrypting needs no secret)."""

    answer: Answer
    mark: str


@final
class Journal:
    """The answers of one sitting, on disk as soon as they are graded, readable only with the examiner's key.

    Args:
        path: ``answers.jsonl``.
        key: The examiner's.
        secret: The paper's secret.
        registration: Digest of the registration; the lines of another one do not open here.
    """

    def __init__(self, path: Path, *, key: KeyPair, secret: str, registration: str) -> None:
        self._path = path
        self._key = key
        self._mark_key = keyed_salt(secret, "journal", registration)
        self.answers: dict[Try, Answer] = {}
        if path.exists():
            self._load()

    def record(self, answer: Answer) -> None:
        """Keep an answer; it is on disk when this returns.

        Raises:
            ProcedureError: This try has an answer already.
            StorageError: It cannot be written.
        """
        place = (answer.index, answer.sample_index)
        if place in self.answers:
            raise ProcedureError(f"Try {place} was answered twice.", hint="Report this: a sitting asks each try once.")
        line = _JournalLine(answer=answer, mark=self._mark(answer))
        box = encrypt(line.canonical(), [self._key.public])
        append_line(self._path, base64.b64encode(box).decode("ascii"), sync=True)
        self.answers[place] = answer

    def _mark(self, answer: Answer) -> str:
        return hmac.digest(self._mark_key.encode(), canonical_json(answer.to_json()), "sha256").hex()

    def _load(self) -> None:
        data = read_file(self._path)
        *lines, torn = data.split(b"\n")
        if torn:  # a killed append: that answer never counted
            with storage_errors(self._path), self._path.open("r+b") as file:
                file.truncate(len(data) - len(torn))
        for number, line in enumerate(lines, start=1):
            what = f"{self._path}, line {number},"
            hint = "Restore the journal from a good copy; it is written by one sitting only and never edited."
            try:
                box = base64.b64decode(json.loads(line), validate=True)
            except (ValueError, TypeError) as error:
                raise IntegrityError(f"{what} is damaged.", hint=hint) from error
            entry = parse_record(self._key.decrypt(box), _JournalLine, what)
            place = (entry.answer.index, entry.answer.sample_index)
            if not hmac.compare_digest(entry.mark, self._mark(entry.answer)) or place in self.answers:
                raise IntegrityError(f"{what} was not written by this sitting.", hint=hint)
            self.answers[place] = entry.answer
