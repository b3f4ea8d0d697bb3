"""Published answers: that they are a sitting's, and that its grades follow from them.

In: the answers of a sitting of a retired paper, its certificate; the problems and their task. Out: nothing, or an error
that names the try; and what the task's own verifier says of each answer now. Anybody can ask it again, with the public
interface: :meth:`~spiritsafe.tasks.Task.grade`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.records import Attempt
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.paper import PaperProblem
from spiritsafe.exam.records.review import OpenedSitting
from spiritsafe.exam.results.amendment import original_result
from spiritsafe.exam.sitting.answers import answer_commitment, follows
from spiritsafe.tasks import Task

OPENED_FILE = "paper.json"
ANSWERS_SUFFIX = ".answers.json"


@final
@dataclass(frozen=True, slots=True)
class Regrading:
    """What grading a sitting's answers again gave.

    Attributes:
        num_graded: Answers that got the same grade.
        num_ungradable: Answers that could not be graded then or cannot be graded here: a verifier that runs into its
            time limit is no proof of anything.
    """

    num_graded: int
    num_ungradable: int


def _wrong(what: str, message: str) -> IntegrityError:
    return IntegrityError(f"{what}: {message}", hint="Ask the examiner for the right answers.")


def check_answers(opened: OpenedSitting, what: str, *, certificate: Certificate) -> None:
    """Check that these are all answers of a sitting, as committed to, and that its grades are theirs.

    Args:
        certificate: Of the sitting; of a re-issue the grades before the edits are meant.

    Raises:
        IntegrityError: They are not; the message names the try.
    """
    outcomes = original_result(certificate).outcomes
    if (opened.paper_id, opened.registration) != (certificate.paper.paper_id, certificate.result.registration):
        raise _wrong(what, "it is of another paper or sitting.")
    places = [(answer.index, answer.sample_index) for answer in opened.answers]
    wanted = [(outcome.index, outcome.sample_index) for outcome in outcomes]
    if places != wanted:
        odd = sorted(set(places) ^ set(wanted))
        raise _wrong(
            what, f"try {odd[0][1]} at problem {odd[0][0]} is missing or too much." if odd else "out of order."
        )
    for outcome, answer in zip(outcomes, opened.answers, strict=True):
        name = f"try {answer.sample_index} at problem {answer.index}"
        if answer_commitment(answer.salt, answer.attempt, answer.verdict) != outcome.commitment:
            raise _wrong(what, f"{name} is not the answer and verdict that the certificate committed to.")
        if not follows(outcome, answer.attempt, answer.verdict):
            raise _wrong(what, f"{name} has a verdict that the certificate's grade does not follow from.")


def regrade(opened: OpenedSitting, problems: Sequence[PaperProblem], task: Task) -> Regrading:
    """Grade every published answer again.

    Args:
        problems: The whole bank, by place.

    Raises:
        IntegrityError: The verifier says otherwise of one, or it answers another problem; the message names it.
    """
    graded = ungradable = 0
    for answer in opened.answers:
        problem = problems[answer.index].problem
        attempt = Attempt.from_json(answer.attempt)
        name = f"Try {answer.sample_index} at problem {answer.index}"
        if attempt.problem_id != problem.id:
            raise _wrong(name, "it answers another problem.")
        if answer.verdict is None:
            continue
        verdict = task.grade(problem, attempt.text)
        then, now = answer.verdict.get("status"), verdict.status
        if "unscored" in (then, now):
            ungradable += 1
        elif (then, answer.verdict.get("score")) != (now, verdict.score):
            raise _wrong(name, f"the verdict on record is {then!r}, but the task's verifier says {now!r}.")
        else:
            graded += 1
    return Regrading(graded, ungradable)
