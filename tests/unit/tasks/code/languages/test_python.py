from __future__ import annotations

import pytest
from code_parts import tried

from spiritsafe.tasks.code.languages.language import language_named
from spiritsafe.tasks.code.languages.signature import CodeSignature, ValueType
from spiritsafe.tasks.code.languages.trial import Failure
from spiritsafe.tasks.sandbox.job import Limits

ONE = CodeSignature("f", (("x", "int"),), "int")


def kinds(found: list[object]) -> list[object]:
    return [one.kind if isinstance(one, Failure) else one for one in found]


def test_skeleton_is_a_function_that_compiles() -> None:
    signature = CodeSignature("f", (("a", "int"), ("b", "bool"), ("c", "str"), ("d", "ints")), "ints")
    skeleton = language_named("python").skeleton(signature)
    assert skeleton == "def f(a: int, b: bool, c: str, d: list[int]) -> list[int]:\n    ...\n"
    compile(skeleton, "x", "exec")


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        ("int", "True"),
        ("int", "1.0"),
        ("int", "None"),
        ("int", "'1'"),
        ("int", "type('N', (int,), {})(1)"),
        ("int", "type('E', (), {'__eq__': lambda s, o: True})()"),
        ("int", "10 ** 50"),
        ("int", "10 ** 5000"),
        ("bool", "1"),
        ("bool", "None"),
        ("str", "b'x'"),
        ("str", "'ä'"),
        ("str", "'\\n'"),
        ("str", "'\\ud800'"),
        ("ints", "(1, 2)"),
        ("ints", "[True]"),
        ("ints", "[1.0]"),
        ("ints", "range(3)"),
        ("ints", "type('L', (list,), {})()"),
    ],
)
def test_results_of_other_types_are_nonsense(kind: ValueType, result: str) -> None:
    signature = CodeSignature("f", (), kind)
    assert kinds(tried("python", f"def f(): return {result}", signature, [[]])) == ["nonsense"]


def test_one_input_that_fails_loses_no_other() -> None:
    source = """import sys
def f(x):
    if x == 1: raise ValueError("one\\ntwo")
    if x == 2: sys.exit(0)
    if x == 3: return f(x)
    if x == 4: raise KeyboardInterrupt
    if x == 5: raise type("Odd", (Exception,), {"__str__": lambda self: 1 / 0})
    return x
"""
    found = tried("python", source, ONE, [[number] for number in range(7)])
    assert kinds(found) == [0, "crash", "crash", "crash", "crash", "crash", 6]
    assert found[1] == Failure("crash", "ValueError: one two")
    assert found[5] == Failure("crash", "Odd")


def test_a_process_that_dies_keeps_what_was_found() -> None:
    source = "import os\ndef f(x):\n    if x == 1: os._exit(0)\n    if x == 2: os.abort()\n    return x"
    assert kinds(tried("python", source, ONE, [[0], [1], [0]])) == [0, "missing", "missing"]
    assert kinds(tried("python", source, ONE, [[0], [2], [0]])) == [0, "crash", "crash"]


def test_time_is_told() -> None:
    source = "def f(x):\n    while x: pass\n    return x"
    assert kinds(tried("python", source, ONE, [[0], [1], [0]], Limits(cpu_s=0.5))) == [0, "time", "time"]
    source = "import time\ndef f(x):\n    time.sleep(60 * x)\n    return x"
    assert kinds(tried("python", source, ONE, [[0], [1], [0]], Limits(wall_s=1.0))) == [0, "time", "time"]


def test_prints_and_changed_modules_disturb_nothing() -> None:
    source = """import builtins, json, os, sys
print("0 7", end="")
def f(x):
    sys.__stdout__.write(f"{x} 13")
    sys.stdout = None
    os.write = builtins.print = json.loads = None
    return x
if __name__ == "__main__":
    f(1) / 0
"""
    assert tried("python", source, ONE, [[5], [6]]) == [5, 6]


def test_arguments_are_the_calls_own() -> None:
    source = "def f(xs):\n    xs.append(1)\n    return len(xs)"
    assert tried("python", source, CodeSignature("f", (("xs", "ints"),), "int"), [[[]], [[]]]) == [1, 1]


def test_forged_lines_are_only_answers() -> None:
    """The mark can be read by who looks for it; what is printed with it is compared as any result is."""
    source = """import sys
def f(x):
    frame = sys._getframe()
    while "given" not in frame.f_locals: frame = frame.f_back
    mark = frame.f_locals["given"]["mark"]
    sys.__stdout__.write(f"{mark} 1 1000\\n{mark} 77 1000\\n")
    sys.__stdout__.flush()
    return x
"""
    assert tried("python", source, ONE, [[5], [6]]) == [5, 1000]
