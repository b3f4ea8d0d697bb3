"""``code:solve``: write the function.

In: a problem and an answer. Out: a verdict: whether the code in the answer gives what it shall for every hidden input.
What it shall give never enters the sandbox.
"""

from __future__ import annotations

from typing import final

from spiritsafe.core.records import Problem, Status, Verdict
from spiritsafe.tasks.code.languages.language import outcomes_of
from spiritsafe.tasks.code.languages.trial import Failure
from spiritsafe.tasks.families.code.exercises import Exam, exam_of, example_lines
from spiritsafe.tasks.families.code.machine import SandboxedVerifier
from spiritsafe.tasks.sandbox.job import Limits
from spiritsafe.tasks.sandbox.sandbox import shared_sandbox

LIMITS = Limits(cpu_s=5.0, wall_s=60.0)


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
        outcomes = outcomes_of(sandbox, exam.language, code, exam.signature, exam.inputs, LIMITS)
        right = [
            type(one) is type(result) and one == result for one, result in zip(outcomes, exam.results, strict=True)
        ]
        share = sum(right) / len(right)
        status: Status = "correct" if all(right) else "wrong"
        reason = f"right for all {len(right)} inputs"
        if not all(right):
            place = right.index(False)
            reason = f"right for {sum(right)} of {len(right)} inputs; input {place}: {_gave(outcomes[place])}"
        score = share if self._partial else 0.0
        return self.verdict(status, answer=code, reason=reason, score=score, sandbox=sandbox.layer)


def _gave(outcome: object) -> str:
    return f"{outcome.kind}: {outcome.reason}" if isinstance(outcome, Failure) else f"it gives {str(outcome)[:80]}"


def question(exam: Exam, statement: str, examples: int) -> str:
    """What a model is asked.

    Args:
        exam: The exercise; the examples are taken from its last inputs.
        statement: What the function computes.
        examples: How many to show.
    """
    language = exam.language
    pairs = list(zip(exam.inputs, exam.results, strict=True))[-examples:] if examples else []
    lines = f"\n\nExamples:\n{example_lines(exam.signature, pairs)}" if pairs else ""
    return (
        f"Write a function in {language.title}.\n\n{statement}\n\n"
        f"```{language.fences[0]}\n{language.skeleton(exam.signature).rstrip()}\n```{lines}\n\n"
        "Answer with the whole code in one block."
    )
