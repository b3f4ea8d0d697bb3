"""``code:tests``: write unit tests for given code.

In: a problem and an answer. Out: a verdict: what share of the mutants of the code the tests kill, of those that are not
suspected to be equivalent to it. A test counts if it passes on the code every time; where too few do, all score
nothing. No test is credited with more than its share of the mutants, so an answer of one test that holds everything is
not right. A copy of it counts as another test, since one more line makes it no copy; no mutant is earned by either that
they do not kill. Coverage earns nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import final

from spiritsafe.core.records import Problem, Status, Verdict
from spiritsafe.tasks.code.answer import code_in
from spiritsafe.tasks.code.duet.kills import Kills
from spiritsafe.tasks.code.hacks.registry import test_hacks
from spiritsafe.tasks.code.labelled import fenced, right_code, wrong_code
from spiritsafe.tasks.code.lively import lively_mutants
from spiritsafe.tasks.code.machine import SandboxedVerifier
from spiritsafe.tasks.code.rewrites import rewritten
from spiritsafe.tasks.code.suites.suite import run_suite, why_tests
from spiritsafe.tasks.families.code.exercises import Exam, exam_of
from spiritsafe.tasks.families.code.gold_tests import gold_tests
from spiritsafe.tasks.sandbox.sandbox import shared_sandbox
from spiritsafe.tasks.task import LabelledAnswers


@final
class TestsVerifier(SandboxedVerifier):
    """Counts the mutants that the tests of an answer kill.

    Args:
        languages: See :class:`SandboxedVerifier`.
        num_mutants: Of the code, at most.
        share: Of the mutants, the most that one test is credited with.
        valid: Share of the tests that must hold for the code.
        goal: Share of the mutants that a right answer kills.
    """

    __test__ = False  # pytest would take it for tests
    name = "code.tests"

    def __init__(
        self, languages: tuple[str, ...], *, num_mutants: int, share: float, valid: float, goal: float
    ) -> None:
        super().__init__(languages)
        self.version = f"1:{num_mutants},{share:g},{valid:g},{goal:g}"
        self._num_mutants, self._share, self._valid, self._goal = num_mutants, share, valid, goal

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Run the tests against the code and its mutants.

        Raises:
            TaskError: There is no sandbox here, or no compiler.
            SandboxFailure: The sandbox failed.
        """
        exam = exam_of(problem.facts)
        self.check_language(exam.language)
        tests = code_in(text, exam.language)
        if tests is None:
            return self.verdict("unparsed", reason=f"no {exam.language.title} code in the answer")
        sandbox = shared_sandbox()
        chosen = lively_mutants(sandbox, exam.language.name, exam.gold, exam.signature, exam.inputs, self._num_mutants)
        kills = run_suite(
            sandbox,
            exam.language.name,
            tests=tests,
            signature=exam.signature,
            gold=exam.gold,
            mutants=[one.source for one in chosen.mutants],
        )
        if kills.broken:
            return self.verdict("wrong", answer=tests, reason=kills.broken, sandbox=kills.layer)
        score, reason = self._scored(kills, len(chosen.mutants))
        reason += f"; {chosen.num_equivalent} more are suspected to be equivalent"
        reason += f"; lines run: {kills.coverage:.0%}" if kills.coverage is not None else ""
        status: Status = "correct" if score >= 1.0 else "wrong"
        return self.verdict(status, answer=tests, reason=reason, score=score, sandbox=kills.layer)

    def _scored(self, kills: Kills, num_mutants: int) -> tuple[float, str]:
        num_tests, num_run = len(kills.tests), num_mutants - len(kills.not_run)
        valid = kills.valid
        if not num_run:
            return 0.0, "no mutant could be run"
        if len(valid) < self._valid * num_tests:
            name, why = next(iter(kills.invalid.items()))
            return 0.0, f"{len(valid)} of {num_tests} tests hold for the code; {name} does not: {why}"
        credited = most_credited(kills.killed_by, max(1, math.ceil(self._share * num_run)))
        rate = credited / num_run
        words = f"{len(valid)} of {num_tests} tests hold, and kill {len(kills.killed_by)} of {num_run} mutants"
        if credited < len(kills.killed_by):
            words += f", {credited} of which count, as no test is credited with more than {self._share:.0%}"
        return (1.0 if rate >= self._goal else rate), words


def most_credited(killed_by: Mapping[int, Sequence[str]], most: int) -> int:
    """How many mutants can be credited to tests that kill them, at most so many to each test.

    By augmenting paths, as in matching: a mutant takes a place of a test, or has another one move to another test.
    """
    places: dict[str, list[int]] = {}

    def place(mutant: int, seen: set[str]) -> bool:
        for test in killed_by[mutant]:
            if test in seen:
                continue
            seen.add(test)
            held = places.setdefault(test, [])
            if len(held) < most:
                held.append(mutant)
                return True
            for index, other in enumerate(held):
                if place(other, seen):
                    held[index] = mutant
                    return True
        return False

    return sum(place(mutant, set()) for mutant in killed_by)


def labelled_tests(exam: Exam, key: str) -> list[LabelledAnswers]:
    """Answers of which it is known whether they are right.

    Args:
        exam: The exercise.
        key: Names the problem.
    """
    language = exam.language
    word = language.fences[0]
    tests = gold_tests(exam)
    other, right = rewritten(tests, language.name), []
    if language.name == "python":
        asserts = [line.strip() for line in tests.splitlines() if line.lstrip().startswith("assert")]
        case = [f"    def test_{n}(self):\n        {line}" for n, line in enumerate(asserts)]
        head = ["import unittest", f"from solution import {exam.signature.name}", "class TestIt(unittest.TestCase):"]
        other = "\n".join([*head, *case])
        right = [LabelledAnswers("gold as plain asserts", True, (fenced("\n".join(asserts), word),))]
    hacks = test_hacks(language.name, exam.signature)
    return [*right_code(tests, other, language), *right, *wrong_code(hacks, key, word)]


def tests_question(exam: Exam) -> str:
    """What a model is asked."""
    language = exam.language
    return (
        f"Write unit tests for this {language.title} code.\n\n{fenced(exam.gold, language.fences[0])}\n\n"
        f"{why_tests(language.name, exam.signature)}\n\nEvery test must pass on this code; together they should fail "
        "as soon as any part of it is changed. Answer with all tests in one block of code."
    )
