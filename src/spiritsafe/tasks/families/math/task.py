r"""The ``math`` family: questions with answers from a file or a Hugging Face data set.

In: ``math:path/to/file.jsonl``, ``math:path/of/folder`` or ``math:org/name?config=main&split=train``. Out: a Task
graded as values. GSM8K's ``#### N`` and MATH's ``\boxed{…}`` are understood: what stands there is the gold, the text
around it the worked solution.

A text is judged by the one thing that it claims. Where the gold is a value and the text claims a value, they are
compared exactly, inline, and nothing else is asked. One formula goes to math-verify in a child process, because its own
time limit works on the main thread only. ``docs/grading.md`` has the accepted forms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, final

from pydantic import BeforeValidator

from spiritsafe.core.errors import TaskError
from spiritsafe.core.process.children.pool import ChildFailure, ChildPool, Handler, shared_pool
from spiritsafe.core.records import Message, Problem, Status, Verdict
from spiritsafe.tasks.answers.claims import AnswerClaim, claimed_text, claimed_value, read_value, same_value
from spiritsafe.tasks.answers.extract import marked_spans, normalise
from spiritsafe.tasks.answers.formulas import equal_parts, one_formula
from spiritsafe.tasks.answers.numerals import Decimal, tidy
from spiritsafe.tasks.data.knobs import DataSources, ExamDataKnobs
from spiritsafe.tasks.family import Family
from spiritsafe.tasks.spec import TaskSpec, resolve_knobs
from spiritsafe.tasks.task import Draft, Task, Verifier

_CALCULATOR = re.compile(r"<<[^<>]*>>")
_HINT = "\nEnd with #### and the final answer."
_MAX_SPAN = 400
"""A final answer is short; math-verify's time grows with what it is given."""
_CPU_S = 4
"""Of one comparison. What could explode is refused from its text; this is for what that rule does not foresee."""
_NO_VALUE = {
    "several": "the text claims several values, bounds one or takes it back",
    "formula": "what the text claims is no plain value",
}


class MathKnobs(ExamDataKnobs):
    """Knobs of ``math``.

    Attributes:
        question: Field of the question.
        answer: Field of the answer, or of the worked solution that ends in it.
        solution: Field of a worked solution, when it stands apart from the answer.
        decimal: "comma" where gold and answers are written as 1.234,5; "point", or left out, for 1,234.5.
        hint: Tell the model how to mark its answer.
    """

    question: str = "question"
    answer: str = "answer"
    solution: str = ""
    decimal: Annotated[Literal["", "comma"], BeforeValidator(lambda value: "" if value == "point" else value)] = ""
    hint: bool = True


def gold_and_solution(answer: str) -> tuple[str, str | None]:
    """The gold answer in an answer text, and the text as a worked solution when there is more to it than the gold.

    Calculator annotations (``<<48/2=24>>``) are removed from the solution, and a last line ``#### gold`` is added where
    only a box marks the answer.
    """
    text = _CALCULATOR.sub("", answer).strip()
    for rule, span in marked_spans(text):
        if rule == "hashes":
            return span.strip(), text
        if rule == "boxed":
            return span.strip(), f"{text}\n#### {span.strip()}"
    return text, None


def _same_words(left: str, right: str) -> bool:
    def plain(text: str) -> str:
        return " ".join(normalise(text).strip().strip("$*`. ").casefold().split())

    return bool(plain(left)) and plain(left) == plain(right)


def judged_value(verifier: Verifier, gold: AnswerClaim, claim: AnswerClaim) -> Verdict:
    """The verdict on a claim where the gold is a value: only a complete value can be right."""
    if claim.kind != "value":
        reason = _NO_VALUE.get(claim.kind, "no answer in the text")
        return verifier.verdict("unparsed", answer=claim.text or None, reason=reason)
    status: Status = "correct" if same_value(gold, claim) else "wrong"
    return verifier.verdict(status, answer=claim.text, reason=f"found by rule: {claim.rule}")


@final
class MathVerifier(Verifier):
    """Judges the one claim of a text: a value exactly and inline, one formula by math-verify in a child.

    Args:
        pool: Where math-verify runs.
        decimal: Which mark is the decimal one, in gold and answers.
    """

    name = "math.value"
    isolated = True

    def __init__(self, pool: ChildPool | None = None, *, decimal: Decimal = "point") -> None:
        self.version, self.earlier = ("3", "2") if decimal == "point" else (f"3+{decimal}", f"2+{decimal}")
        self._decimal: Decimal = decimal
        self._pool = pool or shared_pool()
        self._handler = Handler("spiritsafe.tasks.families.math.child", "MathHandler")

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Compare what the text claims with the gold."""
        gold = str(problem.facts["answer"])
        value = read_value(tidy(gold), self._decimal)
        if value is None:
            rule, line = claimed_text(text)
            if not line:
                return self.verdict("unparsed", reason="no answer in the text")
            if rule == "several":
                return self.verdict("unparsed", answer=line[:_MAX_SPAN], reason=_NO_VALUE[rule])
            if _same_words(line, gold):
                return self.verdict("correct", answer=line[:_MAX_SPAN], reason="same words as the gold")
            return self._judge_formula(line, gold)
        claim = claimed_value(text, self._decimal)
        if claim.kind == "formula":
            return self._judge_formula(claim.text, str(value.value))
        return judged_value(self, value, claim)

    def _judge_formula(self, line: str, gold: str) -> Verdict:
        shown = line[:_MAX_SPAN]
        formula, why_not = one_formula(line, gold) if len(line) <= _MAX_SPAN else (None, "too long for an answer")
        if formula is None:
            return self.verdict("unparsed", answer=shown, reason=why_not)
        statuses = []
        for part in equal_parts(formula, gold):
            try:
                statuses.append(self._pool.call(self._handler, {"gold": gold, "answer": part}, cpu_s=_CPU_S))
            except ChildFailure as failure:
                return self.verdict("unscored", answer=shown, reason=f"math-verify: {failure}")
        if statuses[-1] == "unparsed":
            return self.verdict("unparsed", answer=shown, reason="math-verify finds no mathematics in the answer")
        if statuses[-1] == "correct" and set(statuses) != {"correct"}:
            return self.verdict("unparsed", answer=shown, reason="its sides are not equal")
        return self.verdict(statuses[-1], answer=shown, reason="compared by math-verify")


@final
class ValueVerifier(Verifier):
    """Compares the one value that a text claims with a gold that is a value; evaluates nothing."""

    name = "number.value"
    version = "2"
    earlier = "1"
    isolated = False

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Inline: bounded by the length of the text.

        Raises:
            ValueError: The gold is no value.
        """
        gold = read_value(tidy(str(problem.facts["answer"])))
        if gold is None:
            raise ValueError("the gold answer is no number")
        return judged_value(self, gold, claimed_value(text))


@final
class MathTask(Task):
    """Problems of one data set, with the data's digest in their name."""

    finite = True

    def __init__(self, location: str, knobs: MathKnobs, *, pool: ChildPool | None = None) -> None:
        self._knobs = knobs
        self._data = DataSources("math", location, knobs)
        verifier = MathVerifier(pool, decimal=knobs.decimal or "point")
        super().__init__(name=self._data.name, version="1", verifier=verifier)

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        for place, row in self._data.shuffled(seed, exam=exam):
            question = self._field(row, self._knobs.question, place)
            yield Draft(
                " ".join(normalise(question).split()),
                lambda row=row, place=place, question=question: self._problem(row, place, question),  # type: ignore[misc]  # mypy cannot type a lambda's defaults
            )

    def _field(self, row: Mapping[str, Any], key: str, place: str) -> str:
        value = row.get(key)
        if value is None or isinstance(value, (dict, list)):
            raise TaskError(
                f'{place} has no text in the field "{key}".',
                hint=f"Name the fields: question=…&answer=…; this row has {', '.join(sorted(map(str, row)))}.",
            )
        return str(value)

    def about(self) -> dict[str, str]:
        """Which published files the data are."""
        return self._data.about()

    def _problem(self, row: Mapping[str, Any], place: str, question: str) -> Problem:
        gold, solution = gold_and_solution(self._field(row, self._knobs.answer, place))
        if self._knobs.solution:
            worked = _CALCULATOR.sub("", self._field(row, self._knobs.solution, place)).strip()
            solution = f"{worked}\n#### {gold}"
        return Problem(
            task=self.name,
            canonical_text=" ".join(normalise(question).split()),
            messages=(Message(role="user", content=question.strip() + (_HINT if self._knobs.hint else "")),),
            facts={"answer": gold},
            solution=solution,
        )


def build(spec: TaskSpec) -> Task:
    """The task of a spec.

    Raises:
        TaskError: An unknown knob, or data that does not fit.
    """
    return MathTask(spec.name, resolve_knobs(spec, MathKnobs))


FAMILY = Family(
    place=2,
    source="your file or a Hugging Face data set",
    describe=lambda: [
        ("<path or org/name>", "questions with answers, graded as values by math-verify; GSM8K works as it is", None)
    ],
    has_data=True,
    graders={"math": (MathVerifier, _HINT), "number": (ValueVerifier, "\nEnd with #### and the number.")},
)
