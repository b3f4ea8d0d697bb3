"""``code:solve``: write the function.

In: a problem and an answer. Out: a verdict: whether the code in the answer gives what it shall for every hidden input.
What it shall give never enters the sandbox.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from spiritsafe.core.records import Problem, Status, Verdict
from spiritsafe.tasks.code.hacks.registry import solution_hacks
from spiritsafe.tasks.code.labelled import fenced, right_code, wrong_code
from spiritsafe.tasks.code.languages.signature import PYTHON_TYPES, CodeValue
from spiritsafe.tasks.code.languages.trial import Failure
from spiritsafe.tasks.code.lively import lively_mutants
from spiritsafe.tasks.code.machine import SandboxedVerifier
from spiritsafe.tasks.code.rewrites import rewritten
from spiritsafe.tasks.families.code.exercises import Exam, exam_of, example_lines
from spiritsafe.tasks.families.code.gold_tests import constant_code
from spiritsafe.tasks.sandbox.job import Limits
from spiritsafe.tasks.sandbox.sandbox import shared_sandbox
from spiritsafe.tasks.task import LabelledAnswers

LIMITS = Limits(cpu_s=2.0, wall_s=60.0)
_MUTANTS = 3
_MISSED = 0.05
"""Share of mutants that hidden inputs may miss."""


@final
class SolveVerifier(SandboxedVerifier):
    """Tries the code on hidden inputs.

    Args:
        partial: A wrong answer scores the share of inputs for which it is right.
    """

    name = "code.solve"

    def __init__(self, languages: tuple[str, ...], *, partial: bool = False) -> None:
        super().__init__(languages)
        self.version = "1+partial" if partial else "1"
        self._partial = partial

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Run it.

        Raises:
            TaskError: There is no sandbox here, or no compiler.
            SandboxFailure: The sandbox failed.
        """
        exam = exam_of(problem.facts)
        self.check_language(exam.language)
        code = exam.code_in(text)
        if code is None:
            return self.verdict("unparsed", reason=f"no {exam.language.title} code in the answer")
        sandbox = shared_sandbox()
        trial = exam.language.trial(code, exam.signature, exam.inputs, LIMITS)
        result = sandbox.run(trial.run)
        outcomes = trial.outcomes(result)
        right = [
            type(one) is type(wanted) and one == wanted for one, wanted in zip(outcomes, exam.results, strict=True)
        ]
        share = sum(right) / len(right)
        status: Status = "correct" if all(right) else "wrong"
        reason = f"right for all {len(right)} inputs"
        if not all(right):
            place = right.index(False)
            reason = f"right for {sum(right)} of {len(right)} inputs; input {place}: {_gave(outcomes[place])}"
        score = share if self._partial else 0.0
        return self.verdict(status, answer=code, reason=reason, score=score, sandbox=result.layer)


def _gave(outcome: object) -> str:
    return f"{outcome.kind}: {outcome.reason}" if isinstance(outcome, Failure) else f"it gives {str(outcome)[:80]}"


def labelled_solutions(exam: Exam, key: str) -> list[LabelledAnswers]:
    """Answers of which it is known whether they are right.

    Args:
        exam: The exercise.
        key: Names the problem.
    """
    language = exam.language
    word = language.fences[0]
    lively = lively_mutants(shared_sandbox(), language.name, exam.gold, exam.signature, exam.inputs, _MUTANTS)
    wrong = [
        LabelledAnswers("mutants", False, tuple(fenced(one.source, word) for one in lively.mutants), _MISSED),
        LabelledAnswers("skeleton", False, (fenced(language.skeleton(exam.signature), word),)),
    ]
    wrong += wrong_code(solution_hacks(language.name, exam.signature), key, word)
    if len({str(result) for result in exam.results}) > 1:
        wrong.append(LabelledAnswers("constant", False, (fenced(constant_code(exam), word),)))
    return [*right_code(exam.gold, rewritten(exam.gold, language.name), language), *wrong]


def solve_question(
    exam: Exam, statement: str, examples: Sequence[tuple[Sequence[CodeValue], CodeValue]], *, is_brief: bool = False
) -> str:
    """What a model is asked.

    Args:
        exam: The exercise.
        statement: What the function computes.
        examples: Arguments and results to show.
        is_brief: One line instead of the heading in that language, and not how to answer.
    """
    language = exam.language
    lines = f"\n\nExamples:\n{example_lines(exam.signature, examples)}" if examples else ""
    if is_brief:
        parameters = ", ".join(f"{name}: {PYTHON_TYPES[kind]}" for name, kind in exam.signature.parameters)
        heading = f"{exam.signature.name}({parameters}) -> {PYTHON_TYPES[exam.signature.result]}"
        return f"{language.title}: {heading}\n{statement}{lines}"
    return (
        f"Write a function in {language.title}.\n\n{statement}\n\n"
        f"```{language.fences[0]}\n{language.skeleton(exam.signature).rstrip()}\n```{lines}\n\n"
        "Answer with the whole code in one block."
    )
