"""The ``choice`` family: multiple-choice questions from a JSON-lines file.

In: ``choice:path/to/file.jsonl``; each row has a question, a list of choices, and the answer as an index from 0, a
letter or the choice's own wording. Out: a Task that accepts the letter however it is written, or the choice's wording.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, final

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Message, Problem, Status, Verdict
from spiritsafe.core.seeds import derive_seed
from spiritsafe.tasks.answers.extract import extract_answer, normalise
from spiritsafe.tasks.families.datafile import DataSource
from spiritsafe.tasks.family import Family
from spiritsafe.tasks.spec import Knobs, TaskSpec, canonical_name, resolve_knobs
from spiritsafe.tasks.task import Draft, Task, Verifier

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HINT = "\nEnd with #### and the letter."


class ChoiceKnobs(Knobs):
    """Knobs of ``choice``.

    Attributes:
        question: Field of the question.
        choices: Field of the list of choices.
        answer: Field of the answer: index from 0, letter, or wording.
        exam: Another file that exam problems come from.
        hint: Tell the model how to mark its answer.
        sha256: Digest of the data; filled in when left out, checked when given.
        exam_sha256: The same for the exam file.
    """

    question: str = "question"
    choices: str = "choices"
    answer: str = "answer"
    exam: str = ""
    hint: bool = True
    sha256: str = ""
    exam_sha256: str = ""


@final
class LetterVerifier(Verifier):
    """Compares the letter that the text commits to with the gold letter."""

    name = "choice.letter"
    version = "3"
    earlier = "2"
    isolated = False

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Inline: bounded by the length of the text."""
        choices: Any = problem.facts["choices"]
        found = extract_answer(text, "letter", choices=[str(choice) for choice in choices])
        if found is None:
            return self.verdict("unparsed", reason="no choice that the text commits to")
        status: Status = "correct" if found.text == problem.facts["answer"] else "wrong"
        return self.verdict(status, answer=found.text, reason=f"found by rule: {found.rule}")


@final
class ChoiceTask(Task):
    """Problems of one file, with the file's digest in their name."""

    finite = True

    def __init__(self, location: str, knobs: ChoiceKnobs) -> None:
        self._knobs = knobs
        self._study = DataSource(location, sha256=knobs.sha256)
        self._exam = DataSource(knobs.exam, sha256=knobs.exam_sha256) if knobs.exam else self._study
        values = {**knobs.model_dump(), "sha256": self._study.digest()}
        if knobs.exam:
            values["exam_sha256"] = self._exam.digest()
        super().__init__(name=canonical_name("choice", location, values), version="1", verifier=LetterVerifier())

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        source = self._exam if exam else self._study
        rows = source.rows()
        order = list(range(len(rows)))
        Random(derive_seed(seed, self.name)).shuffle(order)
        for index in order:
            question, choices, letter = self._read(rows[index], source, index)
            # the order of the choices is a trivial variant, so it is not part of what the problem is
            canonical = " ".join(normalise(question).split()) + "\n" + "\n".join(sorted(normalise(c) for c in choices))
            yield Draft(
                canonical,
                lambda c=canonical, q=question, o=choices, a=letter: self._problem(c, q, o, a),  # type: ignore[misc]  # mypy cannot type a lambda's defaults
            )

    def _read(self, row: Mapping[str, Any], source: DataSource, index: int) -> tuple[str, list[str], str]:
        question, choices, answer = (
            row.get(key) for key in (self._knobs.question, self._knobs.choices, self._knobs.answer)
        )
        where = source.place(index)
        if question is None or not isinstance(choices, list) or not 2 <= len(choices) <= len(_LETTERS):
            raise TaskError(
                f"{where} needs a question and a list of 2 to 26 choices.",
                hint=f"Name its fields: question=…&choices=…&answer=…; it has {', '.join(sorted(map(str, row)))}.",
            )
        options = [str(choice).strip() for choice in choices]
        letters = _LETTERS[: len(options)]
        position = -1
        if isinstance(answer, int) and not isinstance(answer, bool):
            position = answer
        elif isinstance(answer, str) and answer.strip().upper() in tuple(letters):
            position = letters.index(answer.strip().upper())
        elif isinstance(answer, str) and options.count(answer.strip()) == 1:
            position = options.index(answer.strip())
        if not 0 <= position < len(options):
            raise TaskError(
                f"{where}: the answer {answer!r} is none of its {len(options)} choices.",
                hint="Give an index from 0, a letter, or the wording of a choice.",
            )
        folded = [" ".join(normalise(option).casefold().split()) for option in options]
        if folded.count(folded[position]) > 1:
            raise TaskError(
                f"{where}: two of its choices have the wording of the answer, so two letters are right.",
                hint="Change one of the two, or leave the row out.",
            )
        return str(question).strip(), options, letters[position]

    def _problem(self, canonical: str, question: str, choices: list[str], letter: str) -> Problem:
        listed = "\n".join(f"{name}) {choice}" for name, choice in zip(_LETTERS, choices, strict=False))
        return Problem(
            task=self.name,
            canonical_text=canonical,
            messages=(Message(role="user", content=f"{question}\n{listed}{_HINT if self._knobs.hint else ''}"),),
            facts={"answer": letter, "choices": list(choices)},
        )


def build(spec: TaskSpec) -> Task:
    """The task of a spec.

    Raises:
        TaskError: An unknown knob, or data that does not fit.
    """
    return ChoiceTask(spec.name, resolve_knobs(spec, ChoiceKnobs))


FAMILY = Family(
    place=3,
    source="your file",
    describe=lambda: [("<path>", "multiple choice", None)],
    has_data=True,
    graders={"choice": (LetterVerifier, _HINT)},
)
