"""The audit: may this task be trusted as reward, filter and grader?

In: a task, how many problems, a seed. Out: an :class:`AuditReport`. A task passes when its verifier accepts its own
gold and worked solutions however they are spaced and spelled, rejects junk and near misses, survives faults and
hostile texts, and gives the same problems twice. Where it judges the form of a text
(:attr:`~spiritsafe.tasks.task.Task.judges_form`), junk of that form is right, and counts as part of the floor. The
score of the best constant answer is published, so that every curve can be drawn above its floor.
"""

from __future__ import annotations

import functools
import itertools
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import final

from spiritsafe.core.errors import TaskError
from spiritsafe.core.process.children.pool import ChildPool
from spiritsafe.core.records import Problem, Record, Verdict
from spiritsafe.tasks.answers.extract import parse_number
from spiritsafe.tasks.grading.faults import Fault, FaultyVerifier
from spiritsafe.tasks.task import LabelledAnswers, NoMoreProblemsError, Task

_MAX_CHANCE = 0.05
"""Share of echoed questions and near misses that may be right: some problems have several answers."""
_MAX_FLOOR = 0.9
"""A constant answer that scores more makes the task meaningless."""
_FEWEST = 10
"""Of fewer problems a constant answer may be right by chance; its score is told, and not held against the task."""
_MOST_UNSOLVED = 0.05
"""Share of problems without an answer that a task of forms may have: published ones contradict themselves at times."""
_MAX_HOSTILE_S = 20.0
_CONSTANTS = ("0", "1", "2", "-1", "yes", "no", "Yes", "No", "True", "False", "A", "B", "None", "[]", "I don't know")
_WIDE_DIGITS = str.maketrans("0123456789-", "０１２３４５６７８９−")


@final
class AuditReport(Record):
    """What the audit found. Shares are between 0 and 1; None: does not apply.

    Attributes:
        task: The audited task's name.
        verifier: Its verifier and version.
        num_problems: Problems that were looked at; all distinct.
        num_asked: Problems that were asked for; more than were looked at where the task has no more to study.
        share_new: Of the candidates drawn for them, the share that was new; small means a small space of problems.
        gold_accepted: Gold answers graded correct.
        solution_accepted: Worked solutions graded correct.
        marked_accepted: Gold answers behind ``####`` at the end of a text graded correct.
        spelled_accepted: Gold answers with other spacing and Unicode forms graded correct.
        junk_accepted: By kind of junk, the share graded correct.
        junk_unscored: By kind of junk, the share on which the verifier broke.
        floor: The trivial answers that score best (constants, the question itself), and their scores.
        floor_score: The best of them.
        faults_survived: Hanging, spinning, crashing, raising and memory-eating verifiers were contained.
        hostile_survived: Hostile texts (huge numbers, deep brackets) were graded in time.
        deterministic: The same seed gave the same problems twice.
        right_rejected: Answers that are known to be right and were not accepted, and how many there were.
        wrong_accepted: Answers that are known to be wrong and were accepted, likewise.
        grade_ms: Mean milliseconds a grade.
        passed: No reason stands against it.
        reasons: What stands against it.
    """

    task: str
    version: str
    verifier: str
    num_problems: int
    num_asked: int
    share_new: float
    gold_accepted: float
    solution_accepted: float | None
    marked_accepted: float | None
    spelled_accepted: float | None
    junk_accepted: dict[str, float]
    junk_unscored: dict[str, float]
    floor: dict[str, float]
    floor_score: float
    faults_survived: bool
    hostile_survived: bool
    deterministic: bool
    right_rejected: tuple[int, int]
    wrong_accepted: tuple[int, int]
    grade_ms: float
    passed: bool
    reasons: tuple[str, ...] = ()


def _spellings(gold: str) -> list[str]:
    """The same answer with other spacing and, for numbers, other Unicode forms."""
    spaced = [f"\n  {gold} \n", f"{gold}\r\n", f"\ufeff{gold}", f"\u00a0{gold}\u00a0"]
    return [*spaced, gold.translate(_WIDE_DIGITS)] if parse_number(gold) is not None else spaced


def _near_misses(gold: str) -> list[str]:
    """Wrong answers that look like the gold."""
    value = parse_number(gold)
    if value is not None and value.denominator == 1 and abs(value) < 1000:
        return [str(value + 1), str(value - 1)]
    if value:  # some families ask for three significant digits only, so the first one is changed
        return [re.sub(r"[1-9]", lambda digit: str(int(digit[0]) % 9 + 1), gold, count=1)]
    number = re.search(r"\d+", gold)
    if number:
        return [gold[: number.start()] + str(int(number[0]) + 1) + gold[number.end() :]]
    if re.fullmatch(r"[A-Z]", gold):
        return ["B" if gold == "A" else "A"]
    last = max((i for i, character in enumerate(gold) if character.isalnum()), default=-1)
    return [gold[:last] + ("q" if gold[last] != "q" else "z") + gold[last + 1 :]] if last >= 0 else []


def _echo(problem: Problem, gold: str) -> list[str]:
    """The question itself, where the answer does not stand in it: there an echo can only be right by a flaw."""
    question = problem.messages[-1].content
    return [] if re.search(rf"(?<!\w){re.escape(gold)}(?!\w)", question) else [question]


_HOSTILE = (
    "9" * 10_000,
    "#### " + "9" * 10_000,
    "(" * 5_000 + "1" + ")" * 5_000,
    "\\boxed{" * 2_000,
    "answer " * 2_500,
    "**" * 10_000,
    "#### 9**9**9**9**9",
    "\\boxed{9^{9^{9^{9^{9}}}}}",
    "#### __import__('os').abort()",
    "1 = " * 5_000,
    "\x00\ud800\U0010ffff",
)


@final
class _Grader:
    """Grades and keeps the time."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.seconds = 0.0
        self.count = 0

    def __call__(self, problem: Problem, text: str) -> Verdict:
        started = time.perf_counter()
        verdict = self.task.grade(problem, text)
        self.seconds += time.perf_counter() - started
        self.count += 1
        return verdict

    def shares(self, problems: Sequence[Problem], texts: Callable[[Problem], Sequence[str]]) -> tuple[float, float]:
        """Shares graded correct and graded unscored."""
        return _shares(self.statuses((problem, text) for problem in problems for text in texts(problem)))

    def statuses(self, pairs: Iterable[tuple[Problem, str]]) -> Counter[str]:
        """How many answers got which status."""
        return Counter(self(problem, text).status for problem, text in pairs)


def _shares(found: Counter[str]) -> tuple[float, float]:
    total = max(1, found.total())
    return found["correct"] / total, found["unscored"] / total


@functools.cache
def _faults_survived() -> bool:
    """Faulty verifiers end as "unscored" in bounded time, and the pool serves the next call. Once a process."""
    pool = ChildPool(max_children=1, cpu_s=1, wall_s=2.0)
    problem = Problem(task="faulty:task", canonical_text="x", messages=())
    faults: tuple[Fault, ...] = ("raise", "crash", "hog", "spin", "hang")
    try:
        contained = all(_FaultyTask(fault, pool).grade(problem, "x").status == "unscored" for fault in faults)
        return contained and _FaultyTask("none", pool).grade(problem, "x").status == "wrong"
    finally:
        pool.close()


@final
class _FaultyTask(Task):
    def __init__(self, fault: Fault, pool: ChildPool) -> None:
        super().__init__(name="faulty:task", version="1", verifier=FaultyVerifier(fault, pool))

    def _candidates(self, seed: int, *, exam: bool) -> itertools.chain:  # type: ignore[type-arg]  # an empty iterator of anything
        return itertools.chain()


def _hostile_survived(task: Task, problems: Sequence[Problem]) -> bool:
    """Hostile texts end in time, and none is right for two problems whose answers differ (one may be, by chance)."""
    other = next((problem for problem in problems if task.gold(problem) != task.gold(problems[0])), None)
    started = time.perf_counter()
    accepted = [text for text in _HOSTILE if task.grade(problems[0], text).status == "correct"]
    seconds = time.perf_counter() - started
    accepted = [] if task.judges_form else accepted
    twice = [text for text in accepted if other and task.grade(other, text).status == "correct"]
    return not twice and seconds < _MAX_HOSTILE_S * (6 if task.verifier.isolated else 1)


def _floor(grader: _Grader, problems: Sequence[Problem], golds: Sequence[str]) -> dict[str, float]:
    """Scores of trivial answers: the question, the usual constants, the first half's commonest golds on the second."""
    half = len(problems) // 2
    common = [gold for gold, _ in Counter(golds[:half]).most_common(3) if len(gold) <= 200]
    scores = {constant: grader.shares(problems, lambda _p, c=constant: [c])[0] for constant in _CONSTANTS}  # type: ignore[misc]  # mypy cannot type a lambda's default
    scores |= {gold: grader.shares(problems[half:], lambda _p, g=gold: [g])[0] for gold in common}  # type: ignore[misc]  # as above
    scores["(the question itself)"] = grader.shares(problems, lambda p: [p.messages[-1].content])[0]
    return dict(sorted(scores.items(), key=lambda item: -item[1])[:3])


def _share_new(task: Task, seed: int, wanted: int) -> float:
    seen: set[tuple[str | None, str]] = set()
    drawn = 0
    for draft in itertools.islice(task._candidates(seed, exam=False), 5 * wanted):
        drawn += 1
        if (draft.task, draft.canonical_text) not in seen:
            seen.add((draft.task, draft.canonical_text))
            draft.build()  # it is taken: a mix then goes on to its next part
        if len(seen) >= wanted:
            break
    return len(seen) / max(1, drawn)


def audit_task(task: Task, *, count: int = 40, seed: int = 0) -> AuditReport:
    """Audit a task on ``count`` train problems, or on all there are.

    Raises:
        TaskError: The task cannot make a single problem, has no verifier, or its data has a row that is none; or its
            verifier cannot judge on this machine.
    """
    if not task.verifies:
        raise TaskError(
            f"{task.name} has no verifier, so there is nothing to audit.",
            hint="Look at its problems with `spiritsafe tasks show`.",
        )
    task.verifier.check_machine()
    problems, reasons = _drawn(task, seed, count)
    if not problems:
        raise TaskError(
            f"{task.name} makes no problems: {'; '.join(reasons)}", hint="Check its parameters or its data."
        )
    grader = _Grader(task)
    golds = [task.gold(problem) for problem in problems]
    unsolved = sum(task.judges_form and not gold for gold in golds) / len(golds)
    floor = _floor(grader, problems, golds)
    floor_score = max(floor.values())
    answers = [(problem, one) for problem in problems for one in _labelled(task, problem, floor_score)]
    kinds = {one.kind: one for _, one in answers}
    found = {
        kind: grader.statuses((p, text) for p, one in answers if one.kind == kind for text in one.texts)
        for kind in kinds
    }
    accepted = {kind: _shares(found[kind])[0] for kind, one in kinds.items() if one.is_right and found[kind]}
    shares = {kind: _shares(found[kind]) for kind, one in kinds.items() if not one.is_right}
    again = list(itertools.islice(task.problems("train", seed=seed, count=count), min(8, len(problems))))
    faults, hostile = _faults_survived(), _hostile_survived(task, problems)
    most = {kind: one.most_wrong for kind, one in kinds.items()}
    reasons += [f"{kind} accepted in {a:.0%} of cases only" for kind, a in accepted.items() if a < 1 - most[kind]]
    reasons += [f"{kind} accepted in {s[0]:.0%} of cases" for kind, s in shares.items() if s[0] > most[kind]]
    reasons += [f"the verifier broke on {kind} in {s[1]:.0%} of cases" for kind, s in shares.items() if s[1] > 0]
    checks = {
        "no right answer is known, so nothing shows that right ones are accepted": "gold" in accepted,
        f"no answer was found for {unsolved:.0%} of its problems": unsolved <= _MOST_UNSOLVED,
        f"a trivial answer scores {floor_score:.0%}": floor_score <= _MAX_FLOOR or len(problems) < _FEWEST,
        "an injected fault was not contained": faults,
        "a hostile text was accepted or took too long": hostile,
        "the same seed gave other problems the second time": again == problems[: len(again)],
    }
    reasons += [reason for reason, fine in checks.items() if not fine]
    return AuditReport(
        task=task.name,
        version=task.version,
        verifier=f"{task.verifier.name} {task.verifier.version}",
        num_problems=len(problems),
        num_asked=count,
        share_new=_share_new(task, seed, count),
        gold_accepted=accepted.get("gold", 0.0),
        solution_accepted=accepted.get("worked solution"),
        marked_accepted=accepted.get("marked gold"),
        spelled_accepted=accepted.get("respelled gold"),
        junk_accepted={kind: share[0] for kind, share in shares.items()},
        junk_unscored={kind: share[1] for kind, share in shares.items()},
        floor=floor,
        floor_score=floor_score,
        faults_survived=faults,
        hostile_survived=hostile,
        deterministic=again == problems[: len(again)],
        right_rejected=_count(found, kinds, is_right=True),
        wrong_accepted=_count(found, kinds, is_right=False),
        grade_ms=1000 * grader.seconds / max(1, grader.count),
        passed=not reasons,
        reasons=tuple(reasons),
    )


def _labelled(task: Task, problem: Problem, floor_score: float) -> list[LabelledAnswers]:
    """Answers to one problem of which it is known whether they are right."""
    gold = task.gold(problem)
    answers = [LabelledAnswers("gold", True, (gold,) if gold else ())]
    if problem.solution is not None:
        answers.append(LabelledAnswers("worked solution", True, (problem.solution,)))
    answers.append(LabelledAnswers("empty", False, ("", " \n")))
    return [*answers, *(task.labelled_answers(problem) or _of_values(task, problem, gold, floor_score))]


def _of_values(task: Task, problem: Problem, gold: str, floor_score: float) -> list[LabelledAnswers]:
    """Those that suit a task whose answers are values."""
    forms = _MAX_FLOOR if task.judges_form else 0.0
    # where few answers are possible, an echo is right as often as a constant answer is
    of_echo = forms or _MAX_CHANCE + floor_score
    salad = ("lorem ipsum dolor sit amet", "#### maybe", "\\boxed{}", "####")
    wrong = [
        # only where the gold is another number: for a yes-or-no answer "0" may be a fair spelling
        LabelledAnswers("zero", False, ("0",) if parse_number(gold) else (), forms),
        LabelledAnswers("echo", False, tuple(_echo(problem, gold)), of_echo),
        LabelledAnswers("near miss", False, () if task.judges_form else tuple(_near_misses(gold)), _MAX_CHANCE),
        LabelledAnswers("word salad", False, salad, forms),
    ]
    if task.judges_form or not gold:
        return wrong
    marked = LabelledAnswers("marked gold", True, (f"Let me think.\n#### {gold}",))
    return [marked, LabelledAnswers("respelled gold", True, tuple(_spellings(gold))), *wrong]


def _count(
    found: Mapping[str, Counter[str]], kinds: Mapping[str, LabelledAnswers], *, is_right: bool
) -> tuple[int, int]:
    """Answers that were judged against what is known of them, and how many were judged."""
    counts = [found[kind] for kind, one in kinds.items() if one.is_right == is_right]
    total = sum(count.total() for count in counts)
    correct = sum(count["correct"] for count in counts)
    return (total - correct if is_right else correct), total


def _drawn(task: Task, seed: int, count: int) -> tuple[list[Problem], list[str]]:
    """Train problems, and why there are no more, unless there simply are none: a small data set is audited as it is."""
    problems: list[Problem] = []
    try:
        for problem in task.problems("train", seed=seed, count=count):
            problems.append(problem)
    except NoMoreProblemsError as error:
        return problems, [] if problems else [error.message]
    return problems, []
