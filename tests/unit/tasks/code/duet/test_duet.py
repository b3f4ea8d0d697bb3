from __future__ import annotations

import json
from typing import Any

import pytest
from duet_parts import duet, turn
from sandboxes import every_layer

from spiritsafe.tasks.code.duet.duet import DuetTurn, TestRun, _of_code, _turn

CODE = "def f(x): return 2 * x\n"


@every_layer
def test_each_program_has_its_turns_in_their_order(layer: str) -> None:
    programs = [f"def f(x): return {n} * x\n" for n in range(3)]
    result = duet("def test_a(): assert f(1) == 2\n", *programs, order=[2, 0, 1, 2], on=layer)
    assert [one.program for one in result.turns] == [2, 0, 1, 2]
    assert [one.has_passed for one in result.turns] == [True, False, False, True]
    assert result.stop is None
    assert result.layer.startswith(layer)
    assert all(one.has_ended and 0 < one.cpu_s < 5 for one in result.turns)


@every_layer
def test_a_turn_finds_nothing_of_those_before(layer: str) -> None:
    tests = """import os
import builtins
def tried(action):
    try:
        action()
        return True
    except OSError:
        return False
def test_state():
    assert not hasattr(builtins, "seen")
    builtins.seen = True
    parent = os.getppid()
    assert not tried(lambda: os.open(f"/proc/{parent}/stat", os.O_RDONLY))
    assert not tried(lambda: open(f"/proc/{parent}/mem", "r+b"))
    assert not tried(lambda: os.setpriority(os.PRIO_PROCESS, parent, 3))
    assert not tried(lambda: os.sched_setaffinity(parent, {0}))
    for folder in (".", "/tmp", "/dev/shm"):
        assert not tried(lambda: os.open(f"{folder}/seen", os.O_CREAT | os.O_WRONLY))
    assert not tried(os.fork)
def test_code(): assert f(1) == 1
"""
    code = "seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen)\n"
    for one in duet(tests, code, order=[0, 0, 0], on=layer).turns:
        assert one.has_passed, one.why_not


@every_layer
def test_tests_find_no_source(layer: str) -> None:
    tests = """import inspect, os, pytest, solution, gc
def test_source():
    with pytest.raises((OSError, TypeError)): inspect.getsource(solution)
    assert "very own words" not in inspect.getsource(f) if hasattr(f, "__wrapped__") else True
def test_files():
    for folder, _, names in os.walk("."):
        for name in names:
            assert b"very own words" not in open(os.path.join(folder, name), "rb").read()
def test_memory():
    words = "very own" + " words"
    for thing in gc.get_objects():
        if isinstance(thing, dict):
            assert not any(isinstance(each, str) and words in each and len(each) < 200 for each in list(thing.values()))
"""
    one = turn(tests, "# very own words\n" + CODE, on=layer)
    assert one.has_passed, one.why_not


@every_layer
def test_code_finds_no_tests(layer: str) -> None:
    code = """import gc, os, sys
def f(x):
    found = []
    frame = sys._getframe()
    while frame:
        found += [repr(frame.f_locals), repr(list(frame.f_globals))]
        frame = frame.f_back
    found += [repr(each) for each in gc.get_objects() if isinstance(each, (dict, list))]
    for folder, _, names in os.walk("."):
        for name in names:
            found.append(open(os.path.join(folder, name)).read())
    return any("77" + "4411" in each for each in found)
"""
    assert turn("def test_a(): assert f(1) is False and 774411\n", code, on=layer).has_passed


def test_all_have_the_same_numbers_of_chance_and_hashes() -> None:
    code = "def f(): return [hash('a'), hash((1, 'b')), list({'x', 'y', 'z'})]\n"
    first = turn("def test_a(): assert f() == 0\n", "def f(): return 0\n")
    assert first.has_passed
    tests = "def test_a(): assert f() == [hash('a'), hash((1, 'b')), list({'x', 'y', 'z'})]\n"
    assert turn(tests, code).has_passed


def test_a_program_that_ends_all_of_its_side_passes_nothing() -> None:
    code = "import os, signal\ndef f(x):\n    os.kill(os.getppid(), signal.SIGKILL)\n    return 3 * x\n"
    result = duet("def test_a(): assert f(1) == 2\n", code, CODE, order=[1, 0, 1])
    assert result.turns[0].has_passed
    assert not any(one.has_passed for one in result.turns if one.program == 0)


def test_a_call_may_compute_so_long() -> None:
    """Many short calls may take longer than that, and the turn much longer."""
    code = "def f(n):\n    while n: n -= 1\n    return 1\n"
    short = "\n".join(["def test_many():", *["    assert f(20_000) == 1"] * 200])
    long = "def test_long(): assert f(2_000_000_000) == 1"
    (one,) = duet(f"{short}\n{long}\n", code, order=[0], call_cpu_s=0.1, cpu_s=60.0).turns
    assert [(test.test, test.outcome) for test in one.tests] == [("test_many", "passed"), ("test_long", "failed")]
    (two,) = duet(f"{short}\n", code, order=[0], cpu_s=60.0).turns
    assert 0 < two.longest_call_s < two.cpu_s / 2


def test_no_turns() -> None:
    assert duet("def test_a(): pass\n", CODE, order=[]).turns == ()


def test_only_what_all_passed_has_passed() -> None:
    good, bad = TestRun("a", "passed"), TestRun("b", "failed", "so")
    assert DuetTurn(program=0, tests=(good,), has_ended=True).has_passed
    for one, why in (
        (DuetTurn(program=0, tests=(good, bad), has_ended=True), "b: so"),
        (DuetTurn(program=0, tests=(good, TestRun("c", "skipped")), has_ended=True), "c: skipped"),
        (DuetTurn(program=0, tests=(good, TestRun("c", "unknown")), has_ended=True), "c: unknown"),
        (DuetTurn(program=0, tests=(good, TestRun("c", "exited")), has_ended=True), "c: exited"),
        (DuetTurn(program=0, has_ended=True), "there are no tests"),
        (DuetTurn(program=0, tests=(good,)), "the tests did not come to their end"),
        (DuetTurn(program=0, tests=(good,), has_ended=True, lost=""), "the program does not load: "),
        (DuetTurn(program=0, tests=(good,), has_ended=True, broken=""), "the tests do not load: "),
    ):
        assert not one.has_passed
        assert one.why_not == why


@pytest.mark.parametrize(
    ("said", "num_tests", "has_ended"),
    [
        ([{"test": "a", "outcome": "passed"}, {"end": 1}], 1, True),
        ([{"test": "a", "outcome": "passed"}, {"end": 2}], 1, False),
        ([{"test": "a", "outcome": "passed"}], 1, False),
        ([{"end": 1}, {"test": "a", "outcome": "passed"}], 1, False),
        ([{"test": "a", "outcome": "fine"}, {"end": 0}], 0, False),
        ([{"test": 5}, {"end": 0}], 0, False),
        ([{"test": "a", "outcome": "passed", "more": 1}, {"end": 0}], 0, False),
        ([{"test": "a" * 201, "outcome": "passed"}, {"end": 0}], 0, False),
        ([{"test": "\ud800", "outcome": "passed"}, {"end": 0}], 0, False),
        ([{"end": True}], 0, False),
        ([{"end": -1}], 0, False),
        ([{"test": f"{n}", "outcome": "passed"} for n in range(300)] + [{"end": 300}], 200, False),
        ([[]], 0, False),
        ([], 0, False),
    ],
    ids=lambda said: str(said)[:50],
)
def test_what_a_turn_says_is_read_with_care(said: list[Any], num_tests: int, has_ended: bool) -> None:
    one = _turn(json.dumps({"cpu_s": 0.5, "said": said}), 7, 0.25)
    assert (one.program, len(one.tests), one.has_ended) == (7, num_tests, has_ended)


@pytest.mark.parametrize("line", ["", "x", "[" * 100_000])
def test_a_turn_that_says_nonsense_has_not_passed(line: str) -> None:
    assert not _turn(line, 0, 0.0).has_passed


@pytest.mark.parametrize(
    "line", ["", "x", "5", "[]", "{}", '{"cpu_s": "x"}', '{"cpu_s": []}', f'{{"cpu_s": 1{"0" * 400}}}']
)
def test_the_side_of_the_code_may_say_anything(line: str) -> None:
    assert (_of_code(line).cpu_s, _of_code(line).lines) == (0.0, None)
    assert _of_code('{"cpu_s": 0.5, "lines": [3, 1]}').lines == {1, 3}
