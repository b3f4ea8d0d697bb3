r"""The ``math`` family: questions with answers from a JSON-lines file or a Hugging Face data set.

In: ``math:path/to/file.jsonl`` or ``math:org/name?config=main&split=train``. Out: a Task graded as values. GSM8K's
``#### N`` and MATH's ``\boxed{…}`` are understood: what stands there is the gold, the text around it the worked
solution.

Plain numbers are compared inline. Everything else goes to math-verify in a child process, because its own time limit
works on the main thread only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, final

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Message, Problem, Verdict
from spiritsafe.core.seeds import derive_seed
from spiritsafe.tasks.children import ChildFailure, ChildPool, Handler, shared_pool
from spiritsafe.tasks.datafile import DataSource, is_hub_name
from spiritsafe.tasks.extract import extract_answer, marked_spans, normalise, parse_number
from spiritsafe.tasks.spec import Knobs, TaskSpec, canonical_name, resolve_knobs
from spiritsafe.tasks.task import Draft, Task, Verifier

__all__ = ["MathKnobs", "MathTask", "MathVerifier", "build", "gold_and_solution"]

_CALCULATOR = re.compile(r"<<[^<>]*>>")
_HINT = "\nEnd with #### and the final answer."
_MAX_SPAN = 400
"""A final answer is short; math-verify's time grows with what it is given."""


class MathKnobs(Knobs):
    """Knobs of ``math``.

    Attributes:
        question: Field of the question.
        answer: Field of the answer, or of the worked solution that ends in it.
        solution: Field of a worked solution, when it stands apart from the answer.
        exam: Another file (or split name, for a Hugging Face data set) that exam problems come from.
        config: Configuration of a Hugging Face data set.
        split: Split of a Hugging Face data set; "train" when left out.
        hint: Tell the model how to mark its answer.
        sha256: Digest of the data; filled in when left out, checked when given.
        exam_sha256: The same for the exam file.
    """

    question: str = "question"
    answer: str = "answer"
    solution: str = ""
    exam: str = ""
    config: str = ""
    split: str = ""
    hint: bool = True
    sha256: str = ""
    exam_sha256: str = ""


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


@final
class MathVerifier(Verifier):
    """Numbers inline, everything else by math-verify in a child."""

    name = "math.value"
    version = "1"
    isolated = True

    def __init__(self, pool: ChildPool | None = None) -> None:
        self._pool = pool or shared_pool()
        self._handler = Handler("spiritsafe.tasks.mathematics_child", "MathHandler")

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Compare the answer that the text commits to with the gold."""
        gold = str(problem.facts["answer"])
        value = parse_number(gold.strip("$ "))
        claimed = extract_answer(text, "text")
        if claimed is None:
            return self.verdict("unparsed", reason="no answer in the text")
        if value is not None:
            number = extract_answer(text, "number")
            if number is not None and number.value == value:
                return self.verdict("correct", answer=number.text, reason=f"found by rule: {number.rule}")
            if number is not None and (number.complete or claimed.rule == "whole"):
                return self.verdict("wrong", answer=number.text, reason=f"found by rule: {number.rule}")
            if claimed.rule == "whole":
                return self.verdict("unparsed", reason="no number that the text commits to")
        span = _last_line(claimed.text) if claimed.rule == "whole" else claimed.text.partition("\n")[0]
        span = span.strip()[-_MAX_SPAN:]
        if _same_words(span, gold):
            return self.verdict("correct", answer=span, reason="same words as the gold")
        try:
            status = self._pool.call(self._handler, {"gold": gold, "answer": span})
        except ChildFailure as failure:
            return self.verdict("unscored", answer=span, reason=f"math-verify: {failure}")
        reason = "math-verify finds no mathematics in the answer" if status == "unparsed" else "compared by math-verify"
        return self.verdict(status, answer=span, reason=reason)


def _last_line(text: str) -> str:
    return text.rstrip().rpartition("\n")[2]


def _same_words(left: str, right: str) -> bool:
    def plain(text: str) -> str:
        return " ".join(normalise(text).strip().strip("$*`. ").casefold().split())

    return bool(plain(left)) and plain(left) == plain(right)


@final
class MathTask(Task):
    """Problems of one data set, with the data's digest in their name."""

    def __init__(self, location: str, knobs: MathKnobs, *, pool: ChildPool | None = None) -> None:
        hub = is_hub_name(location)
        if (knobs.config or knobs.split) and not hub:
            raise TaskError(
                f"math:{location} is a file, so config= and split= mean nothing.", hint="Take them out of the spec."
            )
        self._knobs = knobs = knobs.model_copy(update={"split": knobs.split or ("train" if hub else "")})
        self._study = DataSource(location, sha256=knobs.sha256, config=knobs.config, split=knobs.split)
        self._exam = self._study
        values = {**knobs.model_dump(), "sha256": self._study.digest()}
        if knobs.exam:
            self._exam = (
                DataSource(location, sha256=knobs.exam_sha256, config=knobs.config, split=knobs.exam)
                if hub
                else DataSource(knobs.exam, sha256=knobs.exam_sha256)
            )
            values["exam_sha256"] = self._exam.digest()
        super().__init__(name=canonical_name("math", location, values), version="1", verifier=MathVerifier(pool))

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        source = self._exam if exam else self._study
        rows = source.rows()
        order = list(range(len(rows)))
        Random(derive_seed(seed, self.name)).shuffle(order)
        for index in order:
            row = rows[index]
            question = self._field(row, self._knobs.question, source, index)
            yield Draft(
                " ".join(normalise(question).split()),
                lambda row=row, index=index, question=question: self._problem(row, index, question, source),  # type: ignore[misc]  # mypy cannot type a lambda's defaults
            )

    def _field(self, row: Mapping[str, Any], key: str, source: DataSource, index: int) -> str:
        value = row.get(key)
        if value is None or isinstance(value, (dict, list)):
            raise TaskError(
                f'{source.location}, row {index + 1} has no text in the field "{key}".',
                hint=f"Name the fields: question=…&answer=…; this row has {', '.join(sorted(map(str, row)))}.",
            )
        return str(value)

    def _problem(self, row: Mapping[str, Any], index: int, question: str, source: DataSource) -> Problem:
        gold, solution = gold_and_solution(self._field(row, self._knobs.answer, source, index))
        if self._knobs.solution:
            worked = _CALCULATOR.sub("", self._field(row, self._knobs.solution, source, index)).strip()
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
        SourceError: The data cannot be read.
        TaskError: An unknown knob, or data that does not fit.
    """
    return MathTask(spec.name, resolve_knobs(spec, MathKnobs))
