"""``code:explain``: say in words what code does.

In: a problem and an answer. Out: a verdict by round trip: another model, which sees the explanation and the function's
heading but never the code, writes the function anew, and hidden inputs decide. What it can write without an explanation
is subtracted, and so is what a model that is too weak to program from words gains from the explanation: such a gain
shows that the explanation spells out the code.
"""

from __future__ import annotations

from typing import final

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Problem, Status, Verdict
from spiritsafe.tasks.code.labelled import fenced
from spiritsafe.tasks.code.machine import SandboxedVerifier
from spiritsafe.tasks.families.code.exercises import Exam, exam_of
from spiritsafe.tasks.families.code.leaks import leak_in
from spiritsafe.tasks.families.code.rebuilder import Rebuilder
from spiritsafe.tasks.families.code.solve import LIMITS
from spiritsafe.tasks.sandbox.sandbox import shared_sandbox
from spiritsafe.tasks.task import LabelledAnswers

NEUTRAL = "task_function"
"""What the function is called: its own name would explain it."""


@final
class ExplainVerifier(SandboxedVerifier):
    """Has an explanation rebuilt, and runs what comes of it.

    Args:
        languages: See :class:`SandboxedVerifier`.
        rebuilder: Writes programs from explanations; None: there is none, and nothing can be judged.
        weaker: A model that should not be able to; None: nothing is subtracted for it.
        goal: The score that a right answer has at least.
    """

    name = "code.explain"

    def __init__(
        self, languages: tuple[str, ...], *, rebuilder: Rebuilder | None, weaker: Rebuilder | None, goal: float
    ) -> None:
        super().__init__(languages)
        self.version = f"1:{goal:g}{'' if weaker is None else ',weaker'}"
        self._rebuilder, self._weaker, self._goal = rebuilder, weaker, goal

    def check_machine(self) -> None:
        """A sandbox, a compiler, and a model that rebuilds.

        Raises:
            TaskError: One is missing.
        """
        super().check_machine()
        self._required()

    def _required(self) -> Rebuilder:
        if self._rebuilder is None:
            raise TaskError(
                "code:explain has no model that rebuilds code from explanations.",
                hint="Name one: code:explain?rebuilder=http://127.0.0.1:8000/v1&rebuilder_model=NAME; `spiritsafe "
                "serve` serves any model that you have.",
            )
        return self._rebuilder

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Have it rebuilt.

        Raises:
            TaskError: There is no sandbox here, no compiler, or no rebuilder.
            EndpointError: A model does not answer.
            SandboxFailure: The sandbox failed.
        """
        rebuilder = self._required()
        exam = exam_of(problem.facts)
        self.check_language(exam.language)
        explanation = text.strip()
        if not explanation:
            return self.verdict("unparsed", reason="there is no explanation")
        if (leak := leak_in(explanation, exam.gold)) is not None:
            return self.verdict("wrong", answer=explanation, reason=f"no explanation: {leak}")
        with_it, layer = self._share(rebuilder, exam, explanation)
        without, _ = self._share(rebuilder, exam, "")
        gain = max(0.0, with_it - without) / (1.0 - without) if without < 1.0 else 0.0
        words = f"rebuilt, it is right for {with_it:.0%} of the inputs, without an explanation for {without:.0%}"
        if self._weaker is not None:
            weak, _ = self._share(self._weaker, exam, explanation)
            weak_without, _ = self._share(self._weaker, exam, "")
            gain = max(0.0, gain - max(0.0, weak - weak_without))
            words += f"; by the weaker model {weak:.0%} and {weak_without:.0%}"
        status: Status = "correct" if gain >= self._goal else "wrong"
        return self.verdict(status, answer=explanation, reason=words, score=gain, sandbox=layer)

    def _share(self, rebuilder: Rebuilder, exam: Exam, explanation: str) -> tuple[float, str]:
        """Of the inputs, for how many the rebuilt code is right; and what held it."""
        code = exam.code_in(rebuilder.answer(rebuilding_question(exam, explanation)))
        if code is None:
            return 0.0, shared_sandbox().layer
        trial = exam.language.trial(code, exam.signature, exam.inputs, LIMITS)
        result = shared_sandbox().run(trial.run)
        pairs = zip(trial.outcomes(result), exam.results, strict=True)
        right = sum(type(one) is type(wanted) and one == wanted for one, wanted in pairs)
        return right / len(exam.results), result.layer


def labelled_explanations(exam: Exam, statement: str) -> list[LabelledAnswers]:
    """Answers of which it is known whether they are right.

    Args:
        exam: The exercise.
        statement: What its code was made for.
    """
    nothing = ("It computes a value.", f"The function {exam.signature.name} does what its name says.")
    return [
        LabelledAnswers("gold with more words", True, (f"This is what the code does. {statement}",)),
        LabelledAnswers(
            "the code itself", False, (fenced(exam.gold, ""), f"`{exam.gold}`", exam.gold, " ".join(exam.gold.split()))
        ),
        LabelledAnswers("says nothing", False, nothing),
    ]


def rebuilding_question(exam: Exam, explanation: str) -> str:
    """What a rebuilder is asked; without an explanation it has the heading alone."""
    language = exam.language
    heading = fenced(language.skeleton(exam.signature), language.fences[0])
    about = f"\n\nThis is what it computes:\n\n{explanation}" if explanation else ""
    return f"Write this function in {language.title}.\n\n{heading}{about}\n\nAnswer with the whole code in one block."


def explain_question(exam: Exam) -> str:
    """What a model is asked."""
    language = exam.language
    return (
        f"Explain in plain words what this {language.title} code computes, with all special cases, so that a "
        "programmer who has never seen it can write it again from your words alone. Do not quote code.\n\n"
        f"{fenced(exam.gold, language.fences[0])}"
    )
