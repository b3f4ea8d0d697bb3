"""The ``ifeval`` family: prompts whose instructions a program can check (arXiv 2311.07911; extra ``ifeval``).

In: ``ifeval:path/to/file.jsonl`` or ``ifeval:google/IFEval?split=train``, rows with ``prompt``,
``instruction_id_list`` and ``kwargs``. Out: a Task that is right where a text follows all instructions of its prompt,
strictly or, with ``loose=true``, as the paper's loose accuracy has it. The score is the share of instructions followed.

Form is all that is judged: a text without sense can be right. The published prompts are asked as they are.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, final

from spiritsafe.core.errors import TaskError
from spiritsafe.core.process.children.pool import ChildFailure, ChildPool, Handler, shared_pool
from spiritsafe.core.records import Message, Problem, Record, Verdict
from spiritsafe.tasks.answers.extract import normalise
from spiritsafe.tasks.data.knobs import DataSources, ExamDataKnobs
from spiritsafe.tasks.families.ifeval.instructions import fault_of
from spiritsafe.tasks.family import Family
from spiritsafe.tasks.spec import TaskSpec, resolve_knobs
from spiritsafe.tasks.task import Draft, Task, Verifier

_MOST_CHARACTERS = 100_000
"""Of an answer; telling languages and sentences of that many takes seconds at most."""
_LIBRARIES = ("langdetect", "punkt")


class IfevalKnobs(ExamDataKnobs):
    """Knobs of ``ifeval``.

    Attributes:
        prompt: Field of the prompt.
        instructions: Field of the list of instructions' names.
        arguments: Field of the list of their arguments, an object each.
        loose: A text follows an instruction, too, where it does without its first or last line or without stars.
    """

    prompt: str = "prompt"
    instructions: str = "instruction_id_list"
    arguments: str = "kwargs"
    loose: bool = False


@final
class InstructionVerifier(Verifier):
    """Right where all instructions are followed; the score is the share of those that are.

    Args:
        pool: Where the checks run.
        loose: See :class:`IfevalKnobs`.
    """

    name = "ifeval.instructions"
    isolated = True

    def __init__(self, pool: ChildPool | None = None, *, loose: bool = False) -> None:
        self.version = "1+loose" if loose else "1"
        self._loose = loose
        self._pool = pool or shared_pool()

    def judge(self, problem: Problem, text: str) -> Verdict:
        """Check each instruction."""
        if not text.strip():
            return self.verdict("unparsed", reason="no answer in the text")
        if len(text) > _MOST_CHARACTERS:
            return self.verdict("unparsed", reason=f"longer than {_MOST_CHARACTERS:,} characters")
        try:
            found = self._ask("InstructionHandler", problem, text=text, loose=self._loose)
        except ChildFailure as failure:
            return self.verdict("unscored", reason=f"checking the instructions: {failure}")
        missed = [one["id"] for one, is_followed in zip(_asked(problem), found, strict=True) if not is_followed]
        if not missed:
            return self.verdict("correct", answer=text.strip(), reason=f"follows all {len(found)}")
        reason = f"follows {len(found) - len(missed)} of {len(found)}; not {', '.join(missed)}"
        return self.verdict("wrong", answer=text.strip(), reason=reason, score=1 - len(missed) / len(found))

    def example(self, problem: Problem) -> str:
        """A text that follows all instructions; "" where none was found."""
        try:
            return str(self._ask("ExampleHandler", problem) or "")
        except ChildFailure:
            return ""

    def _ask(self, handler: str, problem: Problem, **more: Any) -> Any:
        where = Handler("spiritsafe.tasks.families.ifeval.child", handler)
        return self._pool.call(where, {"instructions": _asked(problem), **more})


def _asked(problem: Problem) -> list[dict[str, Any]]:
    found: Any = problem.facts["instructions"]
    return list(found)


@final
class IfevalTask(Task):
    """Prompts of one data set, with the data's digest in their name."""

    finite = True
    judges_form = True

    def __init__(self, location: str, knobs: IfevalKnobs, *, pool: ChildPool | None = None) -> None:
        self._knobs = knobs
        self._data = DataSources("ifeval", location, knobs)
        self._verifier = InstructionVerifier(pool, loose=knobs.loose)
        super().__init__(name=self._data.name, version="1", verifier=self._verifier)

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        for place, row in self._data.shuffled(seed, exam=exam):
            prompt, instructions = self._read(row, place)
            yield Draft(
                " ".join(normalise(prompt).split()),
                lambda prompt=prompt, instructions=instructions: self._problem(prompt, instructions),  # type: ignore[misc]  # mypy cannot type a lambda's defaults
            )

    def _read(self, row: Mapping[str, Any], place: str) -> tuple[str, list[dict[str, Any]]]:
        """The prompt and its instructions, each with its arguments.

        Raises:
            TaskError: A field is missing, or there is no such instruction or argument.
        """
        prompt, names = row.get(self._knobs.prompt), row.get(self._knobs.instructions)
        given = row.get(self._knobs.arguments)
        lists = isinstance(names, list) and isinstance(given, list) and len(names) == len(given) > 0
        if not isinstance(prompt, str) or not prompt.strip() or not lists:
            raise TaskError(
                f"{place} needs a prompt, and as many instructions as arguments.",
                hint=f"Name its fields: prompt=…&instructions=…&arguments=… of {', '.join(sorted(map(str, row)))}.",
            )
        found = []
        for name, arguments in zip(names or (), given or (), strict=True):
            known = {key: value for key, value in (arguments or {}).items() if value is not None}
            if fault := fault_of(str(name), known):
                raise TaskError(
                    f"{place}: {fault}.",
                    hint="Mend the row: instructions and arguments are those of IFEval (arXiv 2311.07911).",
                )
            found.append({"id": name, "arguments": known})
        return prompt, found

    def _problem(self, prompt: str, instructions: list[dict[str, Any]]) -> Problem:
        return Problem(
            task=self.name,
            canonical_text=" ".join(normalise(prompt).split()),
            messages=(Message(role="user", content=prompt),),
            facts={"instructions": instructions},
        )

    def gold(self, problem: Problem) -> str:
        """A text without sense that follows all instructions; "" where none was found: some contradict each other."""
        return self._verifier.example(problem)

    def about(self) -> dict[str, str]:
        """Which published files the data are."""
        return self._data.about()


@final
class InstructionRates(Record):
    """The figures of IFEval, as counts.

    Attributes:
        num_prompts: Prompts that were answered.
        num_prompts_followed: Those of which all instructions were followed.
        num_instructions: Instructions of all prompts.
        num_instructions_followed: Those that were followed.
    """

    num_prompts: int
    num_prompts_followed: int
    num_instructions: int
    num_instructions_followed: int

    @property
    def prompt_level(self) -> float:
        """Share of prompts."""
        return self.num_prompts_followed / max(1, self.num_prompts)

    @property
    def instruction_level(self) -> float:
        """Share of instructions."""
        return self.num_instructions_followed / max(1, self.num_instructions)


def instruction_rates(graded: Iterable[tuple[Problem, Verdict]]) -> InstructionRates:
    """Prompt-level and instruction-level figures: strict or loose as the verdicts are.

    Args:
        graded: Problems of ``ifeval``, each with its verdict.
    """
    pairs = [(len(_asked(problem)), verdict) for problem, verdict in graded]
    return InstructionRates(
        num_prompts=len(pairs),
        num_prompts_followed=sum(verdict.status == "correct" for _, verdict in pairs),
        num_instructions=sum(number for number, _ in pairs),
        num_instructions_followed=sum(round(number * verdict.score) for number, verdict in pairs),
    )


def build(spec: TaskSpec) -> Task:
    """The task of a spec.

    Raises:
        TaskError: A package is missing, an unknown knob, or data that does not fit.
        SourceError: The data cannot be read.
    """
    knobs = resolve_knobs(spec, IfevalKnobs)
    if missing := [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]:
        raise TaskError(
            f"ifeval tells languages and sentences with {' and '.join(missing)}, not installed here.",
            hint="Run `pip install 'spiritsafe[ifeval]'`.",
        )
    return IfevalTask(spec.name, knobs)


FAMILY = Family(
    place=7,
    source="your file or a Hugging Face data set",
    describe=lambda: [
        ("<path or org/name>", "prompts with instructions that a program checks, as IFEval has them", None)
    ],
    has_data=True,
)
