"""The ``choice`` family: multiple-choice questions from a file, a folder or a set of the Hugging Face hub.

In: ``choice:path/to/file.jsonl`` or ``choice:org/name?config=all&split=test``; each row has a question, its choices,
and the answer as an index from 0, a letter, a label or the choice's own wording. Choices are a list, a pair of lists
(``{"text": […], "label": […]}``, as ARC has them), or a field each (``choices=A,B,C,D``). Where a row names the right
answer and the wrong ones apart (``wrong=…``, as GPQA does), they are shuffled by what the row says, so that a row has
one order everywhere. Out: a Task that accepts the letter however it is written, or the choice's wording.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any, Literal, final

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Message, Problem, Status, Verdict
from spiritsafe.tasks.answers.extract import extract_answer, normalise
from spiritsafe.tasks.data.knobs import DataSources, ExamDataKnobs
from spiritsafe.tasks.family import Family
from spiritsafe.tasks.spec import TaskSpec, resolve_knobs
from spiritsafe.tasks.task import Draft, Task, Verifier

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HINT = "\nEnd with #### and the letter."


class ChoiceKnobs(ExamDataKnobs):
    """Knobs of ``choice``.

    Attributes:
        question: Field of the question.
        choices: Field of the choices, or a field for each, with commas between.
        answer: Field of the answer: index from 0, letter, label, or wording.
        wrong: Field of the wrong answers, or a field for each; ``choices`` is not read then, and the answer is the
            right one's wording.
        faulty: "skip" to leave out rows whose answer is none of the choices or stands there twice; left out: an error.
        hint: Tell the model how to mark its answer.
    """

    question: str = "question"
    choices: str = "choices"
    answer: str = "answer"
    wrong: str = ""
    faulty: Literal["", "skip"] = ""
    hint: bool = True


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
class _FaultyRowError(TaskError):
    """A row of the right fields that cannot be asked."""


@final
class ChoiceTask(Task):
    """Problems of one file, with the file's digest in their name."""

    finite = True

    def __init__(self, location: str, knobs: ChoiceKnobs) -> None:
        self._knobs = knobs
        self._data = DataSources("choice", location, knobs)
        super().__init__(name=self._data.name, version="1", verifier=LetterVerifier())

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        for place, row in self._data.shuffled(seed, exam=exam):
            try:
                question, choices, letter = self._read(row, place)
            except _FaultyRowError:
                if self._knobs.faulty == "skip":
                    continue
                raise
            # the order of the choices is a trivial variant, so it is not part of what the problem is
            canonical = " ".join(normalise(question).split()) + "\n" + "\n".join(sorted(normalise(c) for c in choices))
            yield Draft(
                canonical,
                lambda c=canonical, q=question, o=choices, a=letter: self._problem(c, q, o, a),  # type: ignore[misc]  # mypy cannot type a lambda's defaults
            )

    def about(self) -> dict[str, str]:
        """Which published files the data are."""
        return self._data.about()

    def _read(self, row: Mapping[str, Any], place: str) -> tuple[str, list[str], str]:
        question, answer = row.get(self._knobs.question), row.get(self._knobs.answer)
        choices, labels = self._choices(row)
        if not isinstance(question, str) or choices is None or not 2 <= len(choices) <= len(_LETTERS):
            raise TaskError(
                f"{place} needs a question and a list of 2 to 26 choices.",
                hint=f"Name its fields: question=…&choices=…&answer=…; it has {', '.join(sorted(map(str, row)))}.",
            )
        options = [str(choice).strip() for choice in choices]
        position = 0 if self._knobs.wrong else _position(answer, options, labels)
        if position is None:
            raise _FaultyRowError(
                f"{place}: the answer {answer!r} is none of its {len(options)} choices.",
                hint="Give an index from 0, a letter, or the wording of a choice; faulty=skip leaves such rows out.",
            )
        folded = [" ".join(normalise(option).casefold().split()) for option in options]
        if folded.count(folded[position]) > 1:
            raise _FaultyRowError(
                f"{place}: two of its choices have the wording of the answer, so two letters are right.",
                hint="Change one of the two; faulty=skip leaves such rows out.",
            )
        if self._knobs.wrong:
            order = list(range(len(options)))
            Random(digest([question, options])).shuffle(order)
            options, position = [options[index] for index in order], order.index(position)
        return question.strip(), options, _LETTERS[position]

    def _choices(self, row: Mapping[str, Any]) -> tuple[list[Any] | None, list[str]]:
        """The choices of a row, None if it has none, and what they are labelled with there."""
        if self._knobs.wrong:
            wrong, right = _fields(row, self._knobs.wrong), row.get(self._knobs.answer)
            return (None if wrong is None or right is None else [right, *wrong]), []
        found = row.get(self._knobs.choices)
        if isinstance(found, Mapping):
            texts, labels = found.get("text"), found.get("label")
            fit = isinstance(texts, list) and isinstance(labels, list) and len(texts) == len(labels)
            return (texts, [str(label).strip() for label in labels]) if fit else (None, [])  # type: ignore[union-attr]  # they are lists
        return _fields(row, self._knobs.choices), []

    def _problem(self, canonical: str, question: str, choices: list[str], letter: str) -> Problem:
        listed = "\n".join(f"{name}) {choice}" for name, choice in zip(_LETTERS, choices, strict=False))
        return Problem(
            task=self.name,
            canonical_text=canonical,
            messages=(Message(role="user", content=f"{question}\n{listed}{_HINT if self._knobs.hint else ''}"),),
            facts={"answer": letter, "choices": list(choices)},
        )


def _fields(row: Mapping[str, Any], names: str) -> list[Any] | None:
    """The list in a field, or what is in several fields."""
    found = row.get(names)
    if found is None and "," in names:
        found = [row.get(name.strip()) for name in names.split(",")]
    return found if isinstance(found, list) and all(isinstance(one, str | int | float) for one in found) else None


def _position(answer: Any, options: list[str], labels: list[str]) -> int | None:
    """Which choice an answer is; None if it is none."""
    letters = list(_LETTERS[: len(options)])
    if isinstance(answer, int) and not isinstance(answer, bool):
        return answer if 0 <= answer < len(options) else None
    if not isinstance(answer, str):
        return None
    text = answer.strip()
    for known in (labels, letters, options):
        if known.count(text) == 1:
            return known.index(text)
    if text.upper() in letters:
        return letters.index(text.upper())
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 2 and int(text) < len(options) else None


def build(spec: TaskSpec) -> Task:
    """The task of a spec.

    Raises:
        TaskError: An unknown knob, or data that does not fit.
    """
    return ChoiceTask(spec.name, resolve_knobs(spec, ChoiceKnobs))


FAMILY = Family(
    place=3,
    source="your file or a Hugging Face data set",
    describe=lambda: [("<path or org/name>", "multiple choice", None)],
    has_data=True,
    graders={"choice": (LetterVerifier, _HINT)},
)
