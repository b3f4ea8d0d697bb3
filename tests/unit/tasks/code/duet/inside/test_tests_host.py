from __future__ import annotations

import pytest
from duet_parts import duet, outcomes, turn
from sandboxes import every_layer

CODE = "LIMIT = 3\nclass Odd(ValueError): pass\ndef f(x):\n    if x < 0: raise Odd(x)\n    return 2 * x\n"


@every_layer
def test_tests_are_functions_methods_and_asserts_that_stand_alone(layer: str) -> None:
    tests = """import solution
from solution import f, Odd
assert f(1) == 2
assert f(1) == 3
x = f(5)
assert x == 10; y = 7
def test_a(): assert solution.f(2) == 4 and LIMIT == 3
class TestIt:
    def test_b(self): assert f(y) == 15
import unittest
class Case(unittest.TestCase):
    def test_c(self): self.assertRaises(Odd, f, -1)
async_test = 5
"""
    assert outcomes(tests, CODE, on=layer) == {
        "line 3": "passed",
        "line 4": "failed",
        "line 6": "passed",
        "test_a": "passed",
        "TestIt.test_b": "failed",
        "Case.test_c": "passed",
    }


def test_checks_stand_behind_the_module_and_are_the_only_tests() -> None:
    tests = "def check(g):\n    assert g(1) == 2\ndef test_a(): assert False\nassert True\n"
    assert outcomes(tests, CODE, checks=["check(f)", "assert f(2) == 5"]) == {
        "check 0": "passed",
        "check 1": "failed",
    }
    assert turn(tests, CODE, checks=["f("]).broken is not None


def test_a_prelude_stands_before() -> None:
    found = outcomes("assert helper(3) == 4", CODE, prelude="def helper(x): return x + 1\ndef f(x): return None")
    assert found == {"line 1": "passed"}
    assert outcomes("assert f(3) == 6", CODE, prelude="def f(x): return None") == {"line 1": "passed"}


def test_each_of_two_asserts_on_a_line_counts() -> None:
    tests = "assert f(1) == 3; assert f(2) == 4\nassert f(1)"
    wanted = {"line 1": "failed", "line 1, column 19": "passed", "line 2": "passed"}
    assert outcomes(tests, "def f(x): return 2 * x") == wanted


@pytest.mark.parametrize("side", ["tests", "checks", "prelude", "program"])
@pytest.mark.parametrize("promise", ["", "from __future__ import annotations\n"])
def test_annotations_are_as_each_text_has_them(side: str, promise: str) -> None:
    text = f'{promise}def g(x: int): pass\nkind = str(type(g.__annotations__["x"]).__name__)\n'
    texts = {one: text if one == side else "" for one in ("tests", "checks", "prelude", "program")}
    check = f"assert kind == {'str' if promise else 'type'!r}"
    found = turn(
        f"{texts['tests']}{'' if side == 'checks' else check}",
        texts["program"],
        checks=[f"{text}{check}"] if side == "checks" else (),
        prelude=texts["prelude"],
    )
    assert found.has_passed, found.why_not


def test_names_that_are_not_wanted_are_not_seen() -> None:
    program = "def f(x): return 0\ndef abs(x): return 0\ndef helper(x): return 0\n"
    prelude = "def helper(x): return x\ndef f(x): pass\n"
    tests = "assert abs(f(1) - 5) < 1\nassert helper(4) == 0\n"
    assert outcomes(tests, program, prelude=prelude) == {"line 1": "passed", "line 2": "passed"}
    assert outcomes(tests, program, prelude=prelude, names=["f"]) == {"line 1": "failed", "line 2": "failed"}
    assert turn("import solution\nsolution.abs(1)", program, names=["f"]).broken is not None


BROKEN = {
    "def test(:": "SyntaxError",
    "\0": "",
    "x = 1/0": "ZeroDivisionError",
    "import sys; sys.exit(0)": "SystemExit",
    "import nothing_like_it": "ModuleNotFoundError",
    "from solution import g": "ImportError",
    "(" * 500 + ")" * 500: "",
}


@pytest.mark.parametrize("tests", BROKEN, ids=lambda tests: tests[:12])
def test_a_module_that_does_not_load(tests: str) -> None:
    found = turn(tests, CODE)
    assert found.broken is not None
    assert BROKEN[tests] in found.broken
    assert not found.has_passed
    assert found.why_not.startswith("the tests do not load")


def test_tests_that_end_everything() -> None:
    for text in ("import os; os._exit(0)", "import os\ndef test_a(): os._exit(0)", "import os; os.abort()"):
        found = turn(text, CODE)
        assert not found.has_ended
        assert not found.has_passed
        assert found.why_not
    found = turn("import sys\ndef test_a(): sys.exit(0)\ndef test_b(): pass", CODE)
    assert [test.outcome for test in found.tests] == ["exited", "passed"]
    assert found.has_ended


def test_two_hundred_tests_at_most() -> None:
    tests = "import pytest\n@pytest.mark.parametrize('n', range(300))\ndef test_a(n): assert n != 5\n"
    found = turn(tests, CODE)
    assert len(found.tests) == 200
    assert found.has_ended
    assert [test.test for test in found.tests if test.outcome == "failed"] == ["test_a[5]"]


@every_layer
def test_what_tests_write_to_descriptors_is_theirs_alone(layer: str) -> None:
    tests = """import os
def test_a():
    for place in range(256):
        try:
            os.write(place, b'[] {}\\n{"end": 5}\\nnonsense')
        except OSError:
            pass
def test_b(): pass
"""
    first, second = duet(tests, CODE, order=[0, 0], on=layer).turns
    assert not first.has_ended
    assert first.tests == second.tests == ()  # what is no message ends the report


def test_arguments_that_cannot_be_handed_over_fail_a_test() -> None:
    tests = "def test_a(): assert f(object()) == 1\ndef test_b(): assert f(lambda: 1) == 1\n"
    tests += "def test_c(): assert f(1) == 2\n"
    assert list(outcomes(tests, CODE).values()) == ["failed", "failed", "passed"]


def test_changed_arguments_come_back() -> None:
    program = "def push(xs, d, *, to): xs.append(len(xs)); d['k'] = xs[:]; to.add(3); return xs is d\n"
    tests = "xs, d, s = [7], {}, {1}\nalias = xs\nassert push(xs, d, to=s) is False\nassert alias == [7, 1]\n"
    tests += "assert d == {'k': [7, 1]}\nassert s == {1, 3}\n"
    assert set(outcomes(tests, program).values()) == {"passed"}


def test_calls_are_kept_where_they_are_wanted() -> None:
    tests = "def test_a():\n    f(1); f(x=2); f(3)\n"
    assert turn(tests, CODE, record=True).calls == (("f", [1]), ("f", [3]))
    assert turn(tests, CODE).calls == ()
    many = turn("def test_a():\n    for n in range(500): f(n)\n", CODE, record=True)
    assert [arguments for _, arguments in many.calls] == [[n] for n in range(400)]


RAW = """
import gc, json, socket, struct
for channel in [each for each in gc.get_objects() if isinstance(each, socket.socket)]:
    pass
def send(reply):
    data = json.dumps(reply).encode()
    channel.sendall(struct.pack("<I", len(data)) + data)
def f(x):
    send(REPLY)
    send(REPLY)
"""
REPLIES = [
    "{}", "[]", "5", "None", "'x'", "{'value': {}}", "{'value': ['list', 5]}",
    "{'raised': 'f', 'builtin': 'print', 'words': []}",
    "{'raised': 'x', 'builtin': '__import__', 'words': ['os']}", "{'raised': [], 'builtin': 'KeyError', 'words': []}",
    "{'raised': 'x', 'builtin': 'KeyError', 'words': 5}", "{'raised': 'x', 'builtin': 'GeneratorExit', 'words': []}",
    "{'raised': 'x', 'builtin': 'KeyboardInterrupt', 'words': []}", "{'value': ['opaque', 'x']}",
    "{'arguments': 5, 'value': 4}",
    "{'named': {'x': 1}, 'value': 4}", "{'names': {}}", "{'value': ['int', '-' * 10**6]}", "{'value': float('nan')}",
    "{'raised': 'UnicodeDecodeError', 'builtin': 'UnicodeDecodeError', 'words': []}",
]  # fmt: skip


@pytest.mark.parametrize("reply", REPLIES)
def test_replies_of_a_program_s_own_make_no_test_pass(reply: str) -> None:
    program = RAW.replace("REPLY", reply)
    tests = "def test_a(): assert f(2) == 4\n"
    found = turn(tests, program, cpu_s=1.0)
    assert not found.has_passed
    assert found.why_not


def test_a_manifest_of_its_own_makes_no_test_pass() -> None:
    names = [
        "{'__builtins__': {'value': ['dict', []]}}",
        "{'__name__': {'value': 'x'}, 'f': {'call': 'f'}}",
        "{'f': {'error': 'object'}}",
        "{'f': {'error': 'print'}}",
        "{'f': {'error': 'type'}}",
        "{'f': {}}",
        "{'f': 5}",
        "5",
        "{'check': {'call': 'f'}, 'AssertionError': {'error': 'KeyError'}}",
    ]
    start = (
        "import gc, json, socket, struct, time\n"
        + RAW.partition("import gc, json, socket, struct\n")[2].partition("def f")[0]
    )
    for each in names:
        program = f"{start}send({{'names': {each}}})\nsend({{'value': 5}})\ntime.sleep(0.2)\n"
        for wanted in (None, ["f"]):
            check = "def check(g):\n    assert g(2) == 4\n"
            found = turn(check, program, checks=["check(f)"], cpu_s=1.0, names=wanted)
            assert not found.has_passed, each
