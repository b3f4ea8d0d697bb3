"""Tricks are tricks only where they are run: all but those that are no program compile."""

from __future__ import annotations

import pytest
from code_parts import usable
from code_problems import tax_problem

from spiritsafe.tasks.code.hacks.registry import solution_hacks, test_hacks
from spiritsafe.tasks.code.languages.language import trial_outcomes
from spiritsafe.tasks.code.languages.signature import CodeSignature, ValueType
from spiritsafe.tasks.code.languages.trial import Failure
from spiritsafe.tasks.families.code.exercises import exam_of
from spiritsafe.tasks.families.code.tests import TestsVerifier
from spiritsafe.tasks.sandbox.job import Limits
from spiritsafe.tasks.sandbox.sandbox import shared_sandbox

LIMITS = Limits(cpu_s=0.5, wall_s=30.0)
KINDS: tuple[ValueType, ...] = ("bool", "str", "ints")


@pytest.mark.parametrize("kind", ["int", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS)])
def test_programs_are_programs(kind: ValueType) -> None:
    language = usable("cobol")
    signature = CodeSignature("made_of", (("number", "int"), ("items", "ints")), kind)
    for what, text in solution_hacks("cobol", signature).items():
        (given,) = trial_outcomes(shared_sandbox(), language, text, signature, [(3, [1, 2])], LIMITS)
        refused = isinstance(given, Failure) and given.kind == "compile"
        assert refused == (what == "no program"), (what, given)


def test_tests_are_programs() -> None:
    usable("cobol")
    problem = tax_problem("cobol")
    verifier = TestsVerifier(("cobol",), num_mutants=4, share=0.5, valid=0.8, goal=0.9)
    for what, text in test_hacks("cobol", exam_of(problem.facts).signature).items():
        reason = verifier.judge(problem, f"```cobol\n{text}```").reason
        assert ("compile" in reason) == (what == "a copy of its own"), (what, reason)  # two of one name
