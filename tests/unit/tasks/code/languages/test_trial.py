from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spiritsafe.tasks.code.languages.signature import CodeSignature, ValueType, is_value
from spiritsafe.tasks.code.languages.trial import Failure, Trial, TrialOutcome, input_lines
from spiritsafe.tasks.sandbox.job import Run, RunResult, RunStep, RunStepResult, Stop

RUN = Run(steps=(RunStep(argv=("cc",)), RunStep(argv=("./main",))))


def heard(
    kind: ValueType, out: str, err: str = "", *, code: int | None = 0, stop: Stop | None = None, num_inputs: int = 1
) -> list[TrialOutcome]:
    steps = (RunStepResult(code=0), RunStepResult(code=code, out=out.encode("latin-1"), err=err.encode("latin-1")))
    result = RunResult(steps=steps, stop=stop, files={}, layer="none")
    return Trial(run=RUN, mark="MARK", result=kind, num_inputs=num_inputs).outcomes(result)


@pytest.mark.parametrize(
    ("kind", "line", "value"),
    [
        ("int", "7", 7),
        ("int", "-000000000000000012", -12),
        ("int", "+00000000000000000012", 12),
        ("bool", "1", True),
        ("bool", "0", False),
        ("str", "3 a b", "a b"),
        ("str", "0 ", ""),
        ("str", "+0000000004   x ", "  x "),
        ("ints", "0", []),
        ("ints", "2 -1 +5", [-1, 5]),
    ],
)
def test_results_are_values(kind: ValueType, line: str, value: object) -> None:
    (found,) = heard(kind, f"MARK 0 {line}\n")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("int", "1.5"),
        ("int", "1 2"),
        ("int", ""),
        ("int", "9" * 5000),
        ("bool", "2"),
        ("bool", "T"),
        ("str", "9 abc"),
        ("str", "-1 abc"),
        ("str", "3 a\tb"),
        ("str", "2 \xe4b"),
        ("ints", "2 1"),
        ("ints", "1 1 1"),
        ("ints", "1 x"),
        ("ints", ""),
        ("int", "!nonsense a tuple"),
    ],
)
def test_what_is_no_value_is_nonsense(kind: ValueType, line: str) -> None:
    (found,) = heard(kind, f"MARK 0 {line}\n")
    assert isinstance(found, Failure)
    assert found.kind == "nonsense"
    assert len(found.reason) < 1100


def test_what_a_solution_prints_is_no_result() -> None:
    out = "0 13\nhello MARK 1 5\nMARK\nMARK x 3\nmore0MARK 0 4\nMARK 0 99\n2 14\n"
    assert heard("int", out, num_inputs=3) == [4, 5, Failure("missing", "it ended without a result")]


def test_ends_of_processes_are_told_by_their_status() -> None:
    err = "noise MARK 0\nMARK ended 0\nMARK 1\noh no\nMARK ended 512\nMARK 000000002\nMARK ended +0000000011\n"
    err += "MARK 3\nMARK ended +0000000024\n"
    found = heard("int", "MARK 0 5\n", err, num_inputs=5)
    assert found == [
        5,
        Failure("crash", "oh no"),
        Failure("crash", "ended by signal 11"),
        Failure("time", "it took too long"),
        Failure("time", "one before it took too long"),
    ]


def test_a_process_that_ends_well_without_a_result_has_none() -> None:
    assert heard("int", "", "MARK 0\nMARK ended 0\n") == [Failure("missing", "it ended without a result")]
    assert heard("int", "", "MARK 0\nMARK ended 256\n") == [Failure("crash", "ended with exit code 1")]


def test_a_run_that_is_ended_from_outside_says_why() -> None:
    kinds = [
        (heard("int", "", code=None, stop="time"), "time"),
        (heard("int", "", code=-24), "time"),
        (heard("int", "", code=None, stop="output"), "crash"),
        (heard("int", "", code=None, stop="memory"), "crash"),
        (heard("int", "", "no memory", code=1), "crash"),
        (heard("int", "", code=0), "missing"),
    ]
    assert [(found[0].kind, kind) for found, kind in kinds if found[0].kind != kind] == []  # type: ignore[union-attr]
    assert heard("int", "MARK 0 3\n", code=None, stop="time", num_inputs=2)[0] == 3


def test_a_compiler_that_refuses_speaks_for_every_input() -> None:
    trial = Trial(run=RUN, mark="MARK", result="int", num_inputs=2)
    steps = (RunStepResult(code=1, err=b"syntax " * 1000), RunStepResult())
    found = trial.outcomes(RunResult(steps=steps, stop=None, files={}, layer="none"))
    assert len(found) == 2
    assert isinstance(found[0], Failure)
    assert found[0].kind == "compile"
    assert len(found[0].reason) < 1100
    slow = RunResult(steps=(RunStepResult(), RunStepResult()), stop="time", files={}, layer="none")
    assert trial.outcomes(slow)[0] == Failure("compile", "the compiler was ended: time")


_WORDS = ["MARK", "MARK 0", "MARK 1", "0", "1", "-1", "+2", "²", "!crash", "!nonsense", "ended 24", "ended ²", "x", ""]


@given(
    st.lists(st.tuples(st.sampled_from(_WORDS), st.sampled_from([" ", "\n"])), max_size=12),
    st.sampled_from(["int", "bool", "str", "ints"]),
)
@example([("MARK 0", " "), ("²", " "), ("x", "\n")], "str")
@example([("MARK", " "), ("²", "\n"), ("MARK", " "), ("ended 24", "\n")], "int")
def test_whatever_is_said_there_are_outcomes(parts: list[tuple[str, str]], kind: ValueType) -> None:
    """A solution that finds the mark may say anything."""
    said = "".join(word + gap for word, gap in parts)
    steps = (RunStepResult(code=0), RunStepResult(code=0, out=said.encode("latin-1"), err=said.encode("utf-8")))
    result = RunResult(steps=steps, stop=None, files={}, layer="none")
    found = Trial(run=RUN, mark="MARK", result=kind, num_inputs=2).outcomes(result)
    assert all(isinstance(one, Failure) or is_value(one, kind) for one in found)


def test_inputs_are_lines_of_numbers_and_texts() -> None:
    signature = CodeSignature("f", (("a", "int"), ("b", "bool"), ("c", "str"), ("d", "ints")), "int")
    lines = list(input_lines(signature, [[-5, True, " x", [1, -2]], [0, False, "", []]]))
    zero, one, two = (f"+{number:018d}" for number in range(3))
    assert lines == [f"-{5:018d}", one, two, " x", two, one, f"-{2:018d}", zero, zero, zero, "", zero]
