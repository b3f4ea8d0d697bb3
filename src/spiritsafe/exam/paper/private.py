"""Banks from a private file: an author's own problems, signed off by reviewers before anybody sits them.

In: a JSON-lines file, one :class:`PrivateRow` a line; it never leaves the author's and the reviewers' machines. Out: a
Task whose problems each keep the verifier of their family, and signatures of reviewers. Errors name lines, never words.

::

    {"family": "math", "question": "What is 6 times 7?", "answer": "42", "stratum": "products"}
    {"family": "choice", "question": "Which is a prime?", "choices": ["4", "7"], "answer": "B"}
    {"family": "arith:countdown", "messages": [...], "facts": {"target": 9, "numbers": [4, 5]}, "answer": "4 + 5"}

A row without a family is a question with its answer, or with its choices, as ``math`` and ``choice`` read them from a
data set; what else such a row holds is left out.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, final

from pydantic import Field, JsonValue, model_validator

from spiritsafe.core.errors import IntegrityError, SourceError, TaskError
from spiritsafe.core.files.atomic import ensure_directory, storage_errors
from spiritsafe.core.files.reading import parse_json
from spiritsafe.core.files.record_files import read_file
from spiritsafe.core.records import Message, Problem, Record, Verdict
from spiritsafe.ledger import KeyPair, PublicKey, Signature, verify_signature
from spiritsafe.tasks import (
    Draft,
    Task,
    Verifier,
    canonical_name,
    gold_and_solution,
    load_verifier,
    parse_spec,
    row_graders,
)

PRIVATE = "private"
"""Family name of private banks' tasks."""

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HINT = "\nEnd with #### and the final answer."


class PrivateRow(Record):
    """One line of a private file.

    Attributes:
        family: Whose verifier grades it: "math", "choice", "number", or a task's spec.
        question: What is asked, in words; the choices and a hint how to mark the answer are put behind it.
        messages: The whole conversation instead, as the model is to see it.
        choices: Of "choice"; the answer is then a letter.
        answer: The gold answer.
        facts: What else the verifier of a task's spec needs.
        solution: A worked solution.
        stratum: Label of the stratum that it is drawn and split within.
        signoffs: Reviewers' signatures over the problem.
    """

    family: str
    question: str | None = None
    messages: tuple[Message, ...] = ()
    choices: tuple[str, ...] = ()
    answer: str
    facts: dict[str, JsonValue] = Field(default_factory=dict)
    solution: str | None = None
    stratum: str = Field(default="", max_length=200)
    signoffs: tuple[Signature, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.question is None) != bool(self.messages):
            raise ValueError("give either a question or messages")
        if (self.family == "choice") != bool(self.choices):
            raise ValueError('"choice", and nothing else, has choices')
        if self.choices and (len(self.answer) != 1 or self.answer not in _LETTERS[: len(self.choices)]):
            raise ValueError("the answer of a choice is its letter")
        worded = [" ".join(choice.casefold().split()) for choice in self.choices]
        if self.choices and worded.count(worded[_LETTERS.index(self.answer)]) > 1:
            raise ValueError("two choices have the wording of the answer")
        return self

    def problem(self, task: str) -> Problem:
        """As a problem of this task; a function of the row without its stratum and sign-offs."""
        facts: dict[str, JsonValue] = {**self.facts, "answer": self.answer}
        text = self.question.strip() if self.question is not None else ""
        canonical = " ".join(text.split()) or " ".join(" ".join(m.content.split()) for m in self.messages)
        if self.choices:
            facts["choices"] = list(self.choices)
            canonical += "\n" + "\n".join(sorted(self.choices))
            text += "\n" + "\n".join(f"{name}) {words}" for name, words in zip(_LETTERS, self.choices, strict=False))
        grader = row_graders().get(self.family)
        shown = Message(role="user", content=text + (grader[1] if grader else _HINT))
        return Problem(
            task=task, canonical_text=canonical, messages=self.messages or (shown,), facts=facts, solution=self.solution
        )


def _verifier(family: str) -> Verifier:
    """The verifier of a family, or of the task of a spec."""
    graders = row_graders()
    if family in graders:
        return graders[family][0]()
    if ":" in family:
        return load_verifier(family)
    raise TaskError(
        "A row names a family without a verifier.",
        hint=f"Families: {', '.join(graders)}, or a task's spec such as arith:countdown.",
    )


@final
class _FamilyVerifier(Verifier):
    """Each problem's own verifier."""

    name = PRIVATE
    isolated = True

    def __init__(self, verifiers: Mapping[str, Verifier]) -> None:
        self._verifiers = verifiers
        self.sees_thoughts = any(each.sees_thoughts for each in verifiers.values())
        self.version = "1+" + "+".join(sorted({f"{each.name}/{each.version}" for each in verifiers.values()}))

    def before_thoughts(self) -> _FamilyVerifier:
        return _FamilyVerifier({task: each.before_thoughts() for task, each in self._verifiers.items()})

    def of(self, problem: Problem) -> Verifier:
        return self._verifiers[problem.task]

    def check_machine(self) -> None:
        for verifier in self._verifiers.values():
            verifier.check_machine()

    def judge(self, problem: Problem, text: str) -> Verdict:
        return self.of(problem).judge(problem, text)


@final
class PrivateTask(Task):
    """The problems of a private file, or only their grading.

    Args:
        rows: The file's rows; empty where only grading is wanted.
    """

    finite = True

    def __init__(self, name: str, families: Sequence[str], rows: Sequence[PrivateRow] = ()) -> None:
        self.rows = tuple(rows)
        self._tasks = {family: canonical_name(PRIVATE, name, {"family": family}) for family in sorted(set(families))}
        super().__init__(
            name=canonical_name(PRIVATE, name, {}),
            version="1",
            verifier=_FamilyVerifier({task: _verifier(family) for family, task in self._tasks.items()}),
        )

    @classmethod
    def for_grading(cls, task: str, tasks: Sequence[str]) -> Self:
        """Of a paper's task and the tasks of its strata.

        Raises:
            TaskError: One of them names no family, or one that is unknown here.
        """
        parts = [(part, parse_spec(part).knobs.get("family")) for part in tasks]
        if nameless := [part for part, family in parts if family is None]:
            raise TaskError(
                f'"{nameless[0]}" does not say whose verifier grades it.',
                hint="The paper was altered or damaged: get a good copy from the examiner.",
            )
        return cls(parse_spec(task).name, [family for _, family in parts if family is not None])

    def problem(self, row: PrivateRow) -> Problem:
        """One row as a problem."""
        return row.problem(self._tasks[row.family])

    def stratum(self, row: PrivateRow) -> str:
        """Name of a row's stratum: its label and its family."""
        return f"{row.stratum}/{row.family}" if row.stratum else row.family

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        raise TaskError("A private bank is not for study.", hint="Its problems are drawn by `spiritsafe exam seal`.")


def _with_family(row: Any) -> Any:
    """A row of a data set as a private one; any other as it is."""
    if not isinstance(row, dict) or "family" in row or not {"question", "answer"} <= row.keys():
        return row
    row = {name: value for name, value in row.items() if name in PrivateRow.model_fields}
    answer, choices = row["answer"], row.get("choices")
    if isinstance(choices, list):
        if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < min(len(choices), len(_LETTERS)):
            answer = _LETTERS[answer]
        elif isinstance(answer, str) and choices.count(answer) == 1 and answer not in _LETTERS[: len(choices)]:
            answer = _LETTERS[choices.index(answer)]
        return {**row, "family": "choice", "answer": answer}
    gold, solution = gold_and_solution(str(answer))
    return {"solution": solution, **row, "family": "math", "answer": gold}


def _read_rows(path: Path) -> list[PrivateRow]:
    rows: list[PrivateRow] = []
    for number, line in enumerate(read_file(path).split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(PrivateRow.from_json(_with_family(parse_json(line, path))))
        except IntegrityError as error:  # it names the field, not what stands there
            raise TaskError(f"{path}, line {number}: {error.message}", hint="Mend the line.") from None
        except SourceError:
            raise TaskError(f"{path}, line {number} is not JSON.", hint="Write one JSON object a line.") from None
    if not rows:
        raise TaskError(f"{path} has no problems.", hint="Write one JSON object a line.")
    return rows


def load_private(path: Path, *, name: str) -> PrivateTask:
    """Read a private file, and check that each gold answer and each worked solution passes its verifier.

    Raises:
        SourceError: It cannot be read.
        TaskError: A line is malformed, stands there twice, or its gold fails; the message names the line only.
    """
    rows = _read_rows(path)
    task = PrivateTask(name, [row.family for row in rows], rows)
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        problem = task.problem(row)
        if problem.id in seen:
            raise TaskError(f"{path}: problems {seen[problem.id]} and {number} are the same.", hint="Keep one of them.")
        seen[problem.id] = number
        for what, text in (("gold answer", f"#### {row.answer}"), ("worked solution", row.solution)):
            if text is not None and task.grade(problem, text).status != "correct":
                raise TaskError(
                    f"{path}, problem {number}: its own verifier does not accept its {what}.",
                    hint="Write it so that the verifier finds it: behind #### on the last line.",
                )
    return task


def count_signoffs(problem: Problem, signoffs: Sequence[Signature], reviewers: Sequence[PublicKey]) -> int:
    """How many of the reviewers signed this problem."""
    wanted = {key.signing for key in reviewers}
    message = problem.canonical()
    return len({s.key for s in signoffs if s.key in wanted and verify_signature(s, "review", message)})


def sign_off(path: Path, *, name: str, reviewer: KeyPair, output: Path) -> int:
    """A reviewer signs every problem of a private file that does not carry their signature yet.

    Args:
        name: What the bank will be called; part of what is signed.
        reviewer: Who has read the problems and answers for them.
        output: The file with the signatures; mode 0600 from its first byte.

    Returns:
        Problems that now carry it.

    Raises:
        SourceError: The file cannot be read.
        TaskError: It is not in order; see :func:`load_private`.
        StorageError: It cannot be written.
    """
    task = load_private(path, name=name)
    lines = []
    for row in task.rows:
        problem = task.problem(row)
        if not count_signoffs(problem, row.signoffs, [reviewer.public]):
            signature = reviewer.sign("review", problem.canonical())
            row = row.model_copy(update={"signoffs": (*row.signoffs, signature)})
        lines.append(json.dumps(row.to_json(), ensure_ascii=False, sort_keys=True) + "\n")
    _write_private(output, "".join(lines).encode("utf-8"))
    return len(lines)


def _write_private(path: Path, data: bytes) -> None:
    """Write whole or not at all, readable by nobody else at any moment."""
    ensure_directory(path.parent)
    with storage_errors(path):
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mkstemp makes 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise
