"""The ``programs`` family: published problems of programming, from a file, a folder or a set of the Hugging Face hub.

In: ``programs:path/to/file.jsonl`` or ``programs:org/name?config=…&split=test``, laid out as HumanEval, MBPP,
MultiPL-E (its Python) or COBOLEval are, which is told by their fields. Out: a Task that runs answers in the sandbox,
against the tests that their publishers gave; with ``more=20`` against so many further inputs of each too, which mutants
of its gold answer tell to be worth asking.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import final

from pydantic import Field

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Message, Problem, Status, Verdict
from spiritsafe.tasks.answers.extract import normalise
from spiritsafe.tasks.code.answer import code_in
from spiritsafe.tasks.code.hacks.languages.python import hacks_named
from spiritsafe.tasks.code.labelled import right_code, wrong_code
from spiritsafe.tasks.code.languages.language import language_named
from spiritsafe.tasks.code.machine import SandboxedVerifier
from spiritsafe.tasks.code.rewrites import rewritten
from spiritsafe.tasks.data.knobs import DataSources, ExamDataKnobs
from spiritsafe.tasks.families.programs.further import further_of
from spiritsafe.tasks.families.programs.judges import judge_cobol, judge_python
from spiritsafe.tasks.families.programs.layouts import AskedProgram, asked_of
from spiritsafe.tasks.family import Family
from spiritsafe.tasks.sandbox.sandbox import shared_sandbox
from spiritsafe.tasks.spec import TaskSpec, resolve_knobs
from spiritsafe.tasks.task import Draft, LabelledAnswers, Task

_WANTED = {
    "python": r"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+{0}\b|^{0}[ \t]*=",
    "cobol": r"^.{{0,7}}[ \t]*PROGRAM-ID[ \t]*\.[ \t]*['\"]?{0}\b",
}
_FLAGS = re.MULTILINE | re.IGNORECASE
_NEXT = re.compile(
    r"""(?P<quotes>"{3}|'{3})(?:\\[\s\S]|[^\\])*?(?P=quotes)
    |"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|\#.*
    |^(?P<behind>(?=[^\s)\]}\#]))""",
    re.VERBOSE | re.MULTILINE,
)
"""A text or comment, or what begins behind a function's body."""


class ProgramsKnobs(ExamDataKnobs):
    """Knobs of ``programs``.

    Attributes:
        ask: Say in words what to do; false: the prompt is the beginning of the program alone, which models that only
            continue texts complete.
        more: Inputs a problem beyond those of its published tests; 0: answers are judged as in published scores.
    """

    ask: bool = True
    more: int = Field(default=0, ge=0, le=100)


def program_of(asked: AskedProgram, text: str) -> str | None:
    """The whole program that an answer makes: as it stands, or as what completes the given beginning.

    Returns:
        None: there is no code in it.
    """
    language = language_named(asked.language)
    wanted = re.compile(_WANTED[asked.language].format(re.escape(asked.entry)), _FLAGS)
    code = code_in(text, language, wanted)
    body = text if code is None else code
    first = body.lstrip("\n").partition("\n")[0]
    # a body may be followed by anything, the function once more among it
    if asked.language == "python" and asked.start and first[:1] in (" ", "\t") and not wanted.match(first):
        found = _NEXT.finditer(body, len(body) - len(body.lstrip("\n")) + 1)
        end = next((one.start() for one in found if one["behind"] is not None), len(body))
        return asked.start + body[:end] if body.strip() else None
    if code is not None and wanted.search(code):
        # a function may lean on what the beginning imports and defines; what is said twice is as said last
        return f"{asked.start}\n\n{code}" if asked.language == "python" and asked.start else code
    if not asked.start or not body.strip():
        return code
    if asked.language == "python":
        return None if code is None else f"{asked.start}\n\n{code}"
    return asked.start + body if "PROCEDURE" in body.upper() else code


@final
class ProgramVerifier(SandboxedVerifier):
    """Runs the program that an answer makes against its problem's own tests.

    Which languages there are is known when problems are; a compiler is asked for when a problem needs one.
    """

    name = "code.programs"
    version = "1"

    def __init__(self) -> None:
        super().__init__(())

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Run it.

        Raises:
            TaskError: There is no sandbox here, or no compiler.
            SandboxFailure: The sandbox failed.
        """
        asked = _asked(problem)
        self.check_language(language_named(asked.language))
        program = program_of(asked, text)
        if program is None:
            return self.verdict("unparsed", reason="no code in the answer")
        if asked.language == "python":
            judged = judge_python(shared_sandbox(), program, asked.suite, asked.entry)
        else:
            judged = judge_cobol(shared_sandbox(), program, asked.suite, asked.entry)
        status: Status = "correct" if judged.is_right else "wrong"
        return self.verdict(status, answer=program, reason=judged.reason, sandbox=judged.layer)


def _asked(problem: Problem) -> AskedProgram:
    facts = problem.facts
    return AskedProgram(
        language=str(facts["language"]),
        entry=str(facts["entry"]),
        start=str(facts["start"]),
        gold=str(facts["answer"]),
        suite=facts["suite"],  # type: ignore[arg-type]  # facts are JSON
    )


@final
class ProgramsTask(Task):
    """Problems of one file, with the file's digest in their name."""

    finite = True

    def __init__(self, location: str, knobs: ProgramsKnobs) -> None:
        self._knobs = knobs
        self._data = DataSources("programs", location, knobs)
        super().__init__(name=self._data.name, version="1", verifier=ProgramVerifier())

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        for place, row in self._data.shuffled(seed, exam=exam):
            asked = asked_of(row, place)
            canonical = " ".join(normalise(asked.start or asked.text).split())
            if self._knobs.more and (asked.language != "python" or not asked.gold):
                raise TaskError(
                    f"{place} is no problem in Python with a gold answer, so nothing tells further inputs for it.",
                    hint="Leave out the knob more, or the row.",
                )
            yield Draft(canonical, lambda c=canonical, a=asked: self._problem(c, a))  # type: ignore[misc]  # mypy cannot type a lambda's defaults

    def about(self) -> dict[str, str]:
        """Which published files the data are."""
        return self._data.about()

    def _problem(self, canonical: str, asked: AskedProgram) -> Problem:
        fence = language_named(asked.language).fences[0]
        further = {"further": further_of(asked, self._knobs.more).facts()} if self._knobs.more else {}
        return Problem(
            task=self.name,
            canonical_text=canonical,
            messages=(Message(role="user", content=self._prompt(asked)),),
            facts={
                "language": asked.language,
                "entry": asked.entry,
                "start": asked.start,
                "answer": asked.gold,
                "suite": {**asked.suite, **further},
            },
            solution=f"```{fence}\n{asked.gold.rstrip()}\n```" if asked.gold else None,
        )

    def _prompt(self, asked: AskedProgram) -> str:
        if not self._knobs.ask:
            return asked.start or asked.text
        language = language_named(asked.language)
        what = "function" if asked.language == "python" else "program"
        if not asked.start:
            return (
                f"{asked.text}\n\nAnswer with the whole {what} `{asked.entry}` in one block of {language.title} code."
            )
        return (
            f"Complete this {language.title} {what}. Answer with the whole {what} in one block of code.\n\n"
            f"```{language.fences[0]}\n{asked.start.rstrip()}\n```"
        )

    def labelled_answers(self, problem: Problem) -> Sequence[LabelledAnswers]:
        """The gold in other words and settings, where there is one; and hacks, where the answer is in Python."""
        asked = _asked(problem)
        language = language_named(asked.language)
        right = right_code(asked.gold, rewritten(asked.gold, language.name), language) if asked.gold else []
        if language.name != "python":
            return right
        return [*right, *wrong_code(hacks_named(asked.entry), problem.canonical_text, language.fences[0])]

    def gold(self, problem: Problem) -> str:
        """The publisher's own solution; "" where there is none."""
        return problem.solution or ""


def build(spec: TaskSpec) -> Task:
    """The task of a spec.

    Raises:
        TaskError: An unknown knob, or data that does not fit.
    """
    return ProgramsTask(spec.name, resolve_knobs(spec, ProgramsKnobs))


FAMILY = Family(
    place=8,
    source="your file or a Hugging Face data set",
    describe=lambda: [
        (
            "<path or org/name>",
            "problems of programming, run against their own tests; HumanEval, MBPP, MultiPL-E and COBOLEval work as "
            "they are",
            None,
        )
    ],
    has_data=True,
)
