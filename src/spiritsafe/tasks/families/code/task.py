"""The ``code`` family: functions to write, to test and to explain, made from templates with fresh numbers.

In: ``code:solve?language=fortran&level=1-3``, ``code:tests``, ``code:explain``. Out: a Task. Each problem is a
template with settings, drawn anew, so that there is nothing to memorise; all tasks and languages of the family share
their splits, so that a function which is in an exam of one is in the training of none.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, Literal, final

from pydantic import Field

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Message, Problem
from spiritsafe.core.seeds import derive_seed
from spiritsafe.tasks.code.labelled import fenced
from spiritsafe.tasks.code.languages.language import languages
from spiritsafe.tasks.code.templates.catalogue import templates
from spiritsafe.tasks.code.templates.template import Settings, Template
from spiritsafe.tasks.families.code import explain, solve, tests
from spiritsafe.tasks.families.code.exercises import exam_of, facts_of
from spiritsafe.tasks.families.code.gold_tests import gold_tests
from spiritsafe.tasks.families.code.rebuilder import Rebuilder
from spiritsafe.tasks.family import Family
from spiritsafe.tasks.spec import Knobs, Range, TaskSpec, canonical_name, nearest, resolve_knobs
from spiritsafe.tasks.task import Draft, LabelledAnswers, Task, Verifier


class CodeKnobs(Knobs):
    """Knobs of every task of the family.

    Attributes:
        language: Of the code.
        level: How hard, from 1 to 5.
        templates: Names of templates, commas between; all of the level when left out.
        inputs: How many inputs a function is tested with, at most.
        chosen: Choose inputs that notice most faults, which takes a tenth of a second for each problem.
    """

    language: str = "python"
    level: Range = (1, 5)
    templates: str = ""
    inputs: int = Field(default=24, ge=4, le=200)
    chosen: bool = True


class SolveKnobs(CodeKnobs):
    """Knobs of ``code:solve``.

    Attributes:
        examples: How many the question shows.
        question: "brief" names the language and the function in one line instead of showing its heading, for small
            models that are trained on the answers' form.
        partial: A wrong answer scores the share of inputs for which it is right.
    """

    examples: int = Field(default=3, ge=0, le=10)
    question: Literal["", "brief"] = ""
    partial: bool = False


class TestsKnobs(CodeKnobs):
    """Knobs of ``code:tests``.

    Attributes:
        inputs: How many inputs tell mutants from the code, at most.
        mutants: How many mutants the tests meet, at most.
        share: Of the mutants, the most that one test is credited with.
        valid: Share of the tests that must hold for the code.
        goal: Share of the mutants that a right answer kills.
    """

    inputs: int = Field(default=100, ge=20, le=400)
    chosen: bool = False
    mutants: int = Field(default=24, ge=4, le=200)
    share: float = Field(default=0.5, gt=0, le=1)
    valid: float = Field(default=0.8, gt=0, le=1)
    goal: float = Field(default=0.9, gt=0, le=1)


class ExplainKnobs(CodeKnobs):
    """Knobs of ``code:explain``.

    Attributes:
        rebuilder: Address of the model that writes the code anew.
        rebuilder_model: Its name there.
        weaker: Address of a model that is too weak to program from words; none when left out.
        weaker_model: Its name there.
        api_key_env: Name of the variable that holds the key for both.
        answer_tokens: Of what they write, at most.
        goal: The score that a right answer has at least.
    """

    rebuilder: str = ""
    rebuilder_model: str = ""
    weaker: str = ""
    weaker_model: str = ""
    api_key_env: str = ""
    answer_tokens: int = Field(default=1024, ge=16, le=100_000)
    goal: float = Field(default=1.0, gt=0, le=1)


def _chosen(knobs: CodeKnobs) -> list[Template]:
    known = templates()
    names = [name.strip() for name in knobs.templates.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise TaskError(
                f'There is no template "{name}".', hint=f"{nearest(name, known)}Templates: {', '.join(known)}."
            )
    low, high = knobs.level
    found = [one for one in known.values() if low <= one.level <= high and (not names or one.name in names)]
    if not found:
        raise TaskError(f"No template has a level from {low} to {high}.", hint="Levels are 1 to 5.")
    return found


def _check_language(name: str) -> None:
    if name not in languages():
        raise TaskError(
            f'There is no language "{name}".', hint=f"{nearest(name, languages())}There are {', '.join(languages())}."
        )


class CodeTask(Task):
    """Exercises from templates.

    Args:
        kind: What is asked of the model.
        knobs: The task's.
        verifier: Its grader.

    Attributes:
        function_name: What all functions are called, instead of their own names.
    """

    function_name: str | None = None

    def __init__(self, kind: str, knobs: CodeKnobs, verifier: Verifier) -> None:
        self._templates = _chosen(knobs)
        self._code_knobs = knobs
        name = canonical_name("code", kind, knobs.model_dump())
        super().__init__(name=name, version="1", verifier=verifier)

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        rng = Random(derive_seed(seed, "code", ",".join(template.name for template in self._templates)))
        order = list(self._templates)
        while True:
            rng.shuffle(order)
            for template in order:
                settings, wording = template.draw(rng), rng.randrange(1 << 16)
                yield Draft(
                    template.canonical_text(settings),
                    lambda t=template, s=settings, w=wording: self._problem(t, s, w),  # type: ignore[misc]  # mypy cannot type a lambda's defaults
                )

    def _problem(self, template: Template, settings: Settings, wording: int) -> Problem:
        knobs = self._code_knobs
        facts = facts_of(
            template,
            settings,
            knobs.language,
            num_inputs=knobs.inputs,
            chosen=knobs.chosen,
            name=self.function_name,
        )
        statement = template.exercise(settings).statement(wording)
        content, solution = self._asked(template, settings, facts, statement)
        return Problem(
            task=self.name,
            canonical_text=template.canonical_text(settings),
            messages=(Message(role="user", content=content),),
            facts=facts,
            solution=solution,
        )

    @abstractmethod
    def _asked(self, template: Template, settings: Settings, facts: dict[str, Any], statement: str) -> tuple[str, str]:
        """The question, and an answer that must be accepted."""


@final
class SolveTask(CodeTask):
    """Write the function."""

    def __init__(self, knobs: SolveKnobs) -> None:
        self._knobs = knobs
        super().__init__("solve", knobs, solve.SolveVerifier((knobs.language,), partial=knobs.partial))

    def labelled_answers(self, problem: Problem) -> Sequence[LabelledAnswers]:
        """The gold in other words and settings; and mutants of it, the skeleton, a constant, hacks."""
        return solve.labelled_solutions(exam_of(problem.facts), problem.canonical_text)

    def _asked(self, template: Template, settings: Settings, facts: dict[str, Any], statement: str) -> tuple[str, str]:
        exam = exam_of(facts)
        exercise = template.exercise(settings)
        seed = derive_seed(0, "code examples", template.canonical_text(settings))
        shown = exercise.examples(Random(seed), self._knobs.examples)
        question = solve.solve_question(exam, statement, shown, is_brief=self._knobs.question == "brief")
        return question, f"```{exam.language.fences[0]}\n{exam.gold.rstrip()}\n```"

    def gold(self, problem: Problem) -> str:
        """The gold code in its fence."""
        return str(problem.solution)


@final
class TestsTask(CodeTask):
    """Write unit tests for the function."""

    __test__ = False  # pytest would take it for tests

    def __init__(self, knobs: TestsKnobs) -> None:
        verifier = tests.TestsVerifier(
            (knobs.language,),
            num_mutants=knobs.mutants,
            share=knobs.share,
            valid=knobs.valid,
            goal=knobs.goal,
        )
        super().__init__("tests", knobs, verifier)

    def labelled_answers(self, problem: Problem) -> Sequence[LabelledAnswers]:
        """The gold tests in other settings; and tests that hold nothing, everything, or look elsewhere."""
        return tests.labelled_tests(exam_of(problem.facts), problem.canonical_text)

    def _asked(self, template: Template, settings: Settings, facts: dict[str, Any], statement: str) -> tuple[str, str]:
        exam = exam_of(facts)
        solution = fenced(gold_tests(exam), exam.language.fences[0])
        return tests.tests_question(exam), solution

    def gold(self, problem: Problem) -> str:
        """Tests that hold."""
        return str(problem.solution)


@final
class ExplainTask(CodeTask):
    """Say in words what the function computes."""

    function_name = explain.NEUTRAL

    def __init__(self, knobs: ExplainKnobs) -> None:
        def rebuilder(address: str, model: str) -> Rebuilder | None:
            if bool(address) != bool(model):
                raise TaskError("A model that rebuilds has an address and a name.", hint="Give both, or neither.")
            key = knobs.api_key_env or None
            return Rebuilder(address, model, max_tokens=knobs.answer_tokens, api_key_env=key) if address else None

        verifier = explain.ExplainVerifier(
            (knobs.language,),
            rebuilder=rebuilder(knobs.rebuilder, knobs.rebuilder_model),
            weaker=rebuilder(knobs.weaker, knobs.weaker_model),
            goal=knobs.goal,
        )
        super().__init__("explain", knobs, verifier)

    def labelled_answers(self, problem: Problem) -> Sequence[LabelledAnswers]:
        """The statement in other settings; and what explains nothing, or is the code itself."""
        return explain.labelled_explanations(exam_of(problem.facts), str(problem.solution))

    def _asked(self, template: Template, settings: Settings, facts: dict[str, Any], statement: str) -> tuple[str, str]:
        return explain.explain_question(exam_of(facts)), statement

    def gold(self, problem: Problem) -> str:
        """The statement that the code was made for."""
        return str(problem.solution)


_KINDS: dict[str, tuple[str, type[CodeKnobs], Any]] = {
    "tests": ("code to write unit tests for, scored by the mutants that they kill", TestsKnobs, TestsTask),
    "explain": ("code to explain, rebuilt from the explanation by another model", ExplainKnobs, ExplainTask),
    "solve": ("functions to write, run on hidden inputs", SolveKnobs, SolveTask),
}


def build(spec: TaskSpec) -> Task:
    """The task of a spec.

    Raises:
        TaskError: There is no such task, or a knob is unknown or out of range.
    """
    if spec.name not in _KINDS:
        raise TaskError(
            f'There is no task "code:{spec.name}".',
            hint=f"{nearest(spec.name, _KINDS)}There are {', '.join(f'code:{name}' for name in _KINDS)}; problems in a "
            "file are programs:PATH.",
        )
    _, knobs_type, task_type = _KINDS[spec.name]
    knobs = resolve_knobs(spec, knobs_type)
    _check_language(knobs.language)
    task: Task = task_type(knobs)
    return task


FAMILY = Family(
    place=9,
    source="spiritsafe",
    describe=lambda: [(name, f"{about}; in {', '.join(languages())}", None) for name, (about, _, _) in _KINDS.items()],
    shares_splits=True,
)
