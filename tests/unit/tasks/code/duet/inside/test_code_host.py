from __future__ import annotations

import types
from typing import Any

import pytest
from duet_parts import outcomes, turn
from sandboxes import every_layer

from spiritsafe.tasks.code.duet.inside.code_host import _call, _manifest, load_module
from spiritsafe.tasks.code.duet.inside.values import decoded, encoded

PROGRAM = """
import math
from collections import Counter
LIMIT = 5
_TABLE = {"a": [1, 2]}
class Odd(ValueError): pass
class Thing: pass
thing = Thing()
def double(x): return 2 * x
class Own(Exception): pass
KINDS = {"odd": Odd, "key": KeyError, "own": Own, "exit": SystemExit}
def fail(kind, *words): raise KINDS[kind](*words)
def push(xs, y, *, to=()): xs.append(y); to.update(z=y) if to else None
def lie(): return thing
"""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    monkeypatch.setitem(__import__("sys").modules, "solution", types.ModuleType("solution"))
    return load_module(PROGRAM)


def called(module: types.ModuleType, name: str, *arguments: Any, **named: Any) -> dict[str, Any]:
    message = {
        "call": name,
        "arguments": [encoded(each) for each in arguments],
        "named": {key: encoded(each) for key, each in named.items()},
    }
    return _call(module, message)


def test_the_other_side_learns_names_and_plain_values_only(module: types.ModuleType) -> None:
    names = _manifest(module)
    assert names["double"] == {"call": "double"}
    assert names["LIMIT"] == {"value": 5}
    assert decoded(names["_TABLE"]["value"]) == {"a": [1, 2]}
    assert names["Odd"] == {"error": "ValueError"}
    assert names["Counter"] == {"call": "Counter"}
    assert not {"math", "thing", "__builtins__", "__file__", "__name__"} & names.keys()


def test_calls_give_values_errors_and_changed_arguments(module: types.ModuleType) -> None:
    assert called(module, "double", [1]) == {"value": encoded([1, 1])}
    assert called(module, "fail", "odd", 1, "x") == {"raised": "Odd", "builtin": "ValueError", "words": [1, "x"]}
    assert called(module, "fail", "key", "x")["builtin"] == "KeyError"
    assert called(module, "fail", "own") == {"raised": "Own", "builtin": "Exception", "words": []}
    assert called(module, "fail", "exit", 3)["builtin"] == "SystemExit"
    assert called(module, "double")["raised"] == "TypeError"
    assert called(module, "missing")["raised"] == "KeyError"
    assert called(module, "__dir__")["raised"] == "KeyError"  # the module's own methods are none of the program's
    assert called(module, "push", [1], 2) == {"value": None, "arguments": [encoded([1, 2]), 2]}
    found = called(module, "push", [1], 2, to={"a": 1})
    assert decoded(found["named"]["to"]) == {"a": 1, "z": 2}
    assert called(module, "lie")["value"][0] == "opaque"


TESTS = """
import pytest
from solution import *
def test_value(): assert f(2) == 4
def test_error():
    with pytest.raises(Odd, match="too odd"): f("odd")
def test_error_is_of_its_kind():
    with pytest.raises(ValueError): f("odd")
def test_exit():
    with pytest.raises(SystemExit): f("exit")
def test_printing(): assert f("print") == "said"
def test_huge(): assert f("huge") == 1
def test_infinite(): assert f("infinite") == 1
def test_deep(): assert f("deep") == 1
def test_recursion():
    with pytest.raises(RecursionError): f("recursion")
def test_again(): assert f(3) == 6
def test_end(): assert f("end") == 1
def test_after(): assert f(2) == 4
"""
CODE = """
import itertools, os, sys
class Odd(ValueError): pass
def f(what):
    if what == "odd": raise Odd("far too odd")
    if what == "exit": sys.exit(0)
    if what == "end": os._exit(0)
    if what == "loop":
        while True: pass
    if what == "print":
        print("{}"); print("x", file=sys.stderr); os.write(1, b"x" * 100000); sys.stdout.flush()
        return "said"
    if what == "huge": return [0] * 10**6
    if what == "infinite": return map(abs, itertools.count())
    if what == "deep":
        xs = []
        for _ in range(10**5): xs = [xs]
        return xs
    if what == "recursion": return f(what)
    return 2 * what
"""


@every_layer
def test_a_program_can_do_what_it_likes(layer: str) -> None:
    wanted = dict.fromkeys(
        ("value", "error", "error_is_of_its_kind", "exit", "printing", "recursion", "again"), "passed"
    )
    wanted |= dict.fromkeys(("huge", "infinite", "deep", "end"), "failed")
    wanted["after"] = "unknown"
    assert outcomes(TESTS, CODE, on=layer) == {f"test_{name}": outcome for name, outcome in wanted.items()}


@every_layer
def test_a_loop_ends_by_the_clock(layer: str) -> None:
    tests = "from solution import f\ndef test_loop():\n    f('loop')\ndef test_after():\n    assert f(1) == 2\n"
    found = turn(tests, CODE, on=layer, cpu_s=0.2)
    assert [test.outcome for test in found.tests] == ["failed", "unknown"]
    assert found.tests[0].why.startswith("the code ended")
    assert found.has_ended
    assert 0.02 < found.cpu_s < 5.0  # clocks and counts of ticks differ


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("def f(:", "SyntaxError"),
        ("1/0", "ZeroDivisionError"),
        ("import sys\nsys.exit(0)", "SystemExit"),
        ("import os\nos._exit(0)", "the other side ended"),
        ("while True: pass", "the other side ended"),
        ("\0", ""),
    ],
)
def test_a_program_that_does_not_load(program: str, why: str) -> None:
    found = turn("def test_it(): pass", program, cpu_s=0.2)
    assert found.lost is not None
    assert why in found.lost
    assert not found.tests
    assert not found.has_passed
    assert found.why_not.startswith("the program does not load")
