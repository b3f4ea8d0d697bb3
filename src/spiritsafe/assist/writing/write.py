"""The loop that writes tests: ask, run what came, tell what survives, ask again; then keep the fewest that matter.

In: a subject and a model. Out: a file of tests that was run as it is, in which each test holds for the code every time
and kills a mutant that no other test in it kills. It is the command ``spiritsafe code tests``.

0. Run the file as it is; where that cannot be done, nothing is asked.
1. Ask for tests; take the code of the answer.
2. Run them: which hold for the code each time, and which mutants each kills.
3. Tell which do not hold and which mutants survive, and ask again: until none survives, the questions are used up, or
   two in a row gained nothing.
4. Keep the fewest tests that kill what all kill, and join them.
5. Run that file; drop what does not hold in it or has become needless, until it stays as it is.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import final

from spiritsafe.assist.asker import Asker, AskingCost, ModelAnswer
from spiritsafe.assist.code_report import FileTrouble
from spiritsafe.assist.subject import Subject
from spiritsafe.assist.writing.cover import least_cover
from spiritsafe.assist.writing.joining import (
    NEEDLESS,
    JoinedTests,
    SteadyTests,
    in_short,
    killing_tests,
    needed_tests,
    steady_tests,
)
from spiritsafe.assist.writing.questions import TestsSoFar, next_tests_question
from spiritsafe.assist.writing.report import AskedRound, DroppedTest, KeptTest, RoundOutcome, TestsReport, Written
from spiritsafe.core.canonical import digest_bytes
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Sampling
from spiritsafe.tasks.code import Kills, code_in, language_named

_MOST_IDLE = 2
_MOST_CODE = 200_000
"""Characters of an answer's code."""
_SOME_TEST = re.compile("test", re.IGNORECASE)


@final
@dataclass(slots=True)
class _Suite:
    """The tests of one answer, after they were run."""

    question: int
    text: str
    kills: Kills


@final
@dataclass(slots=True)
class _Work:
    """What is known so far."""

    suites: list[_Suite] = field(default_factory=list)
    rounds: list[AskedRound] = field(default_factory=list)
    invalid: list[DroppedTest] = field(default_factory=list)
    needless: list[DroppedTest] = field(default_factory=list)
    killed: set[int] = field(default_factory=set)
    run: dict[str, SteadyTests] = field(default_factory=dict)
    """What was run, by its text: a model that repeats itself costs no run."""
    layer: str = ""

    def killing(self) -> dict[tuple[int, str], frozenset[int]]:
        """Of each test that holds, which mutants it kills; by its suite's place and its name."""
        return {
            (place, test): mutants
            for place, suite in enumerate(self.suites)
            for test, mutants in killing_tests(suite.kills).items()
        }


def write_tests(
    subject: Subject,
    generator: Generator,
    *,
    most_questions: int,
    sampling: Sampling,
    seed: int = 0,
    events: EventSink | None = None,
) -> Written:
    """Write tests of one file.

    Args:
        subject: The file.
        generator: The model.
        most_questions: So many are asked at most.
        sampling: How answers are drawn.
        seed: Of the draws.
        events: Hears how far it is.

    Raises:
        EndpointError: The model cannot be asked at all.
        SandboxFailure: The sandbox failed.
    """
    sink = events or NullSink()
    began = time.monotonic()
    if (trouble := subject.trouble()) is not None:  # 0
        return Written("", _report(subject, generator, _Work(), Kills(layer=""), 0.0, trouble))
    asker = Asker(generator, sampling, seed=seed)
    work = _Work()
    so_far = TestsSoFar(number=1, survivors=subject.mutants)
    num_idle = 0
    while so_far.survivors and so_far.number <= most_questions and num_idle < _MOST_IDLE:
        note = f"{len(work.killed)} of {len(subject.mutants)} mutants killed"
        sink.progress(so_far.number - 1, most_questions, "questions", note)
        answer = asker.ask(f"{subject.path.name}:{so_far.number}", next_tests_question(subject, so_far))  # 1
        before = len(work.killed)
        so_far = _next(subject, work, so_far.number, answer)  # 2, 3
        num_idle = num_idle + 1 if len(work.killed) == before else 0
    joined = _joined(subject, work)
    kills = joined.kills if joined.text else Kills(layer=work.layer)
    return Written(joined.text, _report(subject, generator, work, kills, time.monotonic() - began))


def _next(subject: Subject, work: _Work, number: int, answer: ModelAnswer) -> TestsSoFar:
    """Run what came, and what the next question tells of it."""
    code, outcome, trouble = _code_of(subject, answer)
    failed: dict[str, str] = {}
    kills = Kills(layer="")
    gained = 0
    if code is not None:
        steady = work.run.get(code) or steady_tests(subject, code)
        work.run[code] = steady
        code, kills, failed = steady.text, steady.kills, steady.invalid
        work.layer = kills.layer
        outcome, trouble = ("broken", in_short(kills.broken)) if kills.broken else ("examined", "")
        work.invalid += [DroppedTest(name=name, question=number, reason=why) for name, why in failed.items()]
        work.suites.append(_Suite(number, code, kills))
        gained = len(kills.killed_by.keys() - work.killed)
        work.killed |= kills.killed_by.keys()
    work.rounds.append(
        AskedRound(
            outcome=outcome,
            told=trouble,
            tests=len(kills.valid) + len(failed),
            valid=len(kills.valid),
            gained=gained,
            cost=answer.cost,
        )
    )
    if answer.is_cut:
        trouble = f"it was too long and was cut off{', so ' if trouble else ''}{trouble}; write fewer tests"
    return TestsSoFar(
        number=number + 1,
        kept=[test for _, test in least_cover(work.killing())],
        survivors=[mutant for place, mutant in enumerate(subject.mutants) if place not in work.killed],
        failed=failed,
        trouble=trouble,
    )


def _code_of(subject: Subject, answer: ModelAnswer) -> tuple[str | None, RoundOutcome, str]:
    """The code of an answer, or what is wrong with it."""
    if answer.error:
        return None, "no answer", in_short(answer.error)
    code = code_in(answer.text, language_named(subject.language), _SOME_TEST)
    if code is None or not code.strip():
        return None, "no code", "it has no block of code with tests"
    if len(code) > _MOST_CODE:
        return None, "too long", f"it has more than {_MOST_CODE} characters of code"
    return code, "examined", ""


def _joined(subject: Subject, work: _Work) -> JoinedTests:
    """The file with the fewest tests that kill what all kill; tests that do not hold in it are told."""
    chosen = least_cover(work.killing())
    parts = [
        subject.only(suite.text, names)
        for place, suite in enumerate(work.suites)
        if (names := [name for at, name in chosen if at == place])
    ]  # 4
    joined = needed_tests(subject, parts)  # 5
    work.invalid += [DroppedTest(name=name, question=0, reason=why) for name, why in joined.invalid.items()]
    work.needless += [DroppedTest(name=name, question=0, reason=NEEDLESS) for name in joined.needless]
    work.needless += [
        DroppedTest(name=test, question=work.suites[place].question, reason=NEEDLESS)
        for place, test in work.killing()
        if (place, test) not in set(chosen)
    ]
    return joined


def _report(
    subject: Subject,
    generator: Generator,
    work: _Work,
    kills: Kills,
    seconds: float,
    trouble: FileTrouble | None = None,
) -> TestsReport:
    info = generator.describe()
    killing = killing_tests(kills)
    kept = []
    for test in kills.tests:
        others = set().union(*(mutants for other, mutants in killing.items() if other != test))
        kept.append(
            KeptTest(
                name=test,
                kills=tuple(subject.mutants[mutant].name for mutant in sorted(killing[test])),
                alone=tuple(subject.mutants[mutant].name for mutant in sorted(killing[test] - others)),
            )
        )
    cost = sum((one.cost for one in work.rounds), AskingCost())
    return TestsReport(
        path=str(subject.path),
        language=subject.language,
        source_digest=digest_bytes(subject.source.encode("utf-8")),
        model=info.name,
        model_digest=info.digest,
        sandbox=kills.layer or work.layer,
        mutants=len(subject.mutants),
        killed=len(kills.killed_by),
        not_run=len(kills.not_run),
        same=subject.num_same,
        coverage=kills.coverage,
        kept=tuple(kept),
        survivors=tuple(one.name for place, one in enumerate(subject.mutants) if place not in kills.killed_by),
        invalid=tuple(work.invalid),
        redundant=tuple(work.needless),
        rounds=tuple(work.rounds),
        cost=cost,
        seconds=round(seconds, 3),
        trouble=trouble,
    )
