"""Which tricks of a compiled language its compiler refuses: the others are run."""

from __future__ import annotations

from code_parts import usable
from code_problems import in_fence, tax_problem

from spiritsafe.tasks.code.hacks.registry import solution_hacks, test_hacks
from spiritsafe.tasks.code.languages.language import trial_outcomes
from spiritsafe.tasks.code.languages.signature import CodeSignature, ValueType
from spiritsafe.tasks.code.languages.trial import Failure
from spiritsafe.tasks.families.code.exercises import exam_of
from spiritsafe.tasks.families.code.tests import TestsVerifier
from spiritsafe.tasks.sandbox.job import Limits
from spiritsafe.tasks.sandbox.sandbox import shared_sandbox

_LIMITS = Limits(cpu_s=0.5, wall_s=30.0)


def refused_programs(name: str, kind: ValueType) -> set[str]:
    """Programs instead of a function with such a result that do not compile."""
    language = usable(name)
    signature = CodeSignature("made_of", (("number", "int"), ("items", "ints")), kind)
    refused = set()
    for what, text in solution_hacks(name, signature).items():
        (given,) = trial_outcomes(shared_sandbox(), language, text, signature, [(3, [1, 2])], _LIMITS)
        refused |= {what} if isinstance(given, Failure) and given.kind == "compile" else set()
    return refused


def refused_tests(name: str) -> set[str]:
    """Tests that do not compile."""
    usable(name)
    problem = tax_problem(name)
    verifier = TestsVerifier((name,), num_mutants=4, share=0.5, valid=0.8, goal=0.9)
    hacks = test_hacks(name, exam_of(problem.facts).signature)
    return {what for what, text in hacks.items() if "compile" in verifier.judge(problem, in_fence(text, name)).reason}
