from __future__ import annotations

import re
from pathlib import Path

import pytest
from compiled_parts import SHAPES_TESTS, write_shapes
from compilers import FORTRAN, compiler
from fake_subject import FakeSubject
from scripted_generator import Scripted

from spiritsafe.assist.explaining.explain import explain_code
from spiritsafe.assist.explaining.report import ExplanationsReport
from spiritsafe.assist.languages.fortran import open_subjects
from spiritsafe.core.errors import TaskError
from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.core.records import Prompt, Sampling

TESTS = "".join(f"test t{number} wants return {number}\n" for number in range(5)) + "test wrong wants return 77\n"
PLAIN = "It gives the number that comes behind it in a row of small ones, without any exception."


class Model(Scripted):
    """Explains and writes anew as it is told; remembers what it was asked."""

    def __init__(self, explanations: dict[str, str], rewritten: dict[tuple[str, bool], str], name: str = "m") -> None:
        super().__init__(self.answer)
        self.explanations, self.rewritten, self.name = explanations, rewritten, name
        self.asked: list[tuple[str, str]] = []

    def describe(self) -> GeneratorInfo:
        return GeneratorInfo(name=self.name, digest=f"sha256:{self.name}", kind="local")

    def answer(self, prompt: Prompt) -> str:
        question = prompt.messages[-1].content
        self.asked.append((prompt.problem_id, question))
        routine = prompt.problem_id.split(":")[1]
        if question.startswith("Write this part"):
            return self.rewritten.get((routine, "This is what it does" in question), "I cannot.")
        return self.explanations.get(routine, PLAIN)


def code(routine: str, body: str) -> str:
    return f"```python\ndef {routine}():\n    {body}\n```"


def explained(explainer: Model, rebuilder: Model | None = None, tests: str = TESTS) -> ExplanationsReport:
    sampling = Sampling(temperature=0.5, max_tokens=5000)
    return explain_code(
        FakeSubject(), tests, explainer, rebuilder or explainer, tests_file="test_parts.py", sampling=sampling, seed=3
    )


def test_each_routine_gets_the_verdict_that_running_it_gives() -> None:
    rewritten = {
        ("part_0", True): code("part_0", "return 0"),
        ("part_0", False): code("part_0", "return None"),
        ("part_1", True): code("part_1", "return 1"),
        ("part_1", False): code("part_1", "return 1"),
        ("part_2", True): code("part_2", "return 3"),
        ("part_2", False): code("part_2", "return 2"),
    }
    explanations = {"part_3": "```python\nreturn 3\n```", "part_4": ""}
    explainer, rebuilder = Model(explanations, {}, "one"), Model({}, rewritten, "two")
    report = explained(explainer, rebuilder)
    assert {one.name: one.verdict for one in report.routines} == {
        "part_0": "suffices",
        "part_1": "told by its name alone",
        "part_2": "does not suffice",
        "part_3": "leaks code",
        "part_4": "no explanation",
        "part_5": "not shown",
    }
    assert [one.failed for one in report.routines] == [(), (), ("t2",), (), (), ()]
    assert [one.tests for one in report.routines] == [*((f"t{number}",) for number in range(5)), ()]
    assert [one.line for one in report.routines] == [1, 5, 9, 13, 17, 21]
    assert report.ignored == {"wrong": "it fails"}
    assert report.share == pytest.approx(2 / 6)
    assert (report.model, report.rebuilder, report.sandbox) == ("one", "two", "fake")
    assert (report.cost.questions, report.rebuilding_cost.questions) == (6, 6)
    assert ExplanationsReport.from_json(report.to_json()) == report
    asked = [name for name, _ in rebuilder.asked]
    assert asked == [f"parts.py:part_{number}:{way}" for number in range(3) for way in ("with", "without")]


def test_who_writes_anew_sees_no_code() -> None:
    model = Model({}, {})
    explained(model)
    rewriting = [question for _, question in model.asked if question.startswith("Write this part")]
    assert len(rewriting) == 10
    assert not any(re.search(r"return \d", question) for question in rewriting)
    assert sum(PLAIN in question for question in rewriting) == 5
    assert all(re.search(r"def part_\d\(\):", question) for question in rewriting)


def test_an_answer_without_the_routine_fails_its_tests() -> None:
    rewritten = {("part_0", True): code("part_9", "return 0"), ("part_1", True): "return 1", ("part_2", True): ""}
    report = explained(Model({}, rewritten))
    assert [one.verdict for one in report.routines[:3]] == ["does not suffice"] * 3
    assert [one.failed for one in report.routines[:3]] == [("t0",), ("t1",), ("t2",)]


def test_what_could_not_be_run_is_not_known() -> None:
    rewritten = {
        ("part_0", True): code("part_0", "UNRUNNABLE"),
        ("part_1", True): code("part_1", "return 1"),
        ("part_1", False): code("part_1", "UNRUNNABLE"),
        ("part_2", True): code("part_2", "return 7"),
        ("part_2", False): code("part_2", "UNRUNNABLE"),
    }
    report = explained(Model({}, rewritten))
    assert [one.verdict for one in report.routines[:3]] == ["not known", "not known", "does not suffice"]


@pytest.mark.parametrize(("tests", "words"), [("", "there are no tests"), ("test x wants return 7", "x: it fails")])
def test_without_a_test_that_holds_nothing_is_asked(tests: str, words: str) -> None:
    model = Model({}, {})
    with pytest.raises(TaskError, match=words):
        explained(model, tests=tests)
    assert model.asked == []


def test_a_fortran_module_explained_and_written_anew(tmp_path: Path) -> None:
    compiler(FORTRAN)
    (subject,) = open_subjects(write_shapes(tmp_path), most_mutants=4, seed=0)
    whole = (
        "```fortran\nmodule x\ncontains\ninteger function larger(a, b) result(c)\n integer, intent(in) :: a, b\n"
        " c = other(a, b)\nend function\ninteger function other(a, b)\n integer, intent(in) :: a, b\n"
        " other = max(a, b)\nend function\nend module\n```"
    )
    scale = (
        "```fortran\nsubroutine scale(xs, by)\n real, intent(inout) :: xs(:)\n real, intent(in) :: by\n"
        " xs = xs * by{}\nend subroutine\n```"
    )
    rewritten = {
        ("larger", True): whole,
        ("larger", False): whole.replace("max", "min"),
        ("scale", True): scale.format(""),
        ("scale", False): scale.format(" + two"),
    }
    model = Model({}, rewritten)
    report = explain_code(subject, SHAPES_TESTS, model, model, tests_file="t.f90", sampling=Sampling(max_tokens=5000))
    assert [(one.name, one.verdict, one.tests, one.failed) for one in report.routines] == [
        ("larger", "suffices", ("test_larger",), ()),
        ("scale", "does not suffice", ("test_scale",), ("test_scale",)),
    ]
    assert set(report.ignored) == {"test_wrong"}
