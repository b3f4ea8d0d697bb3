from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sandboxes import every_layer, sandbox_of
from shop_project import GOOD, HEAD, PRICES, shop_project

from spiritsafe.assist.python.project import python_module
from spiritsafe.assist.python.turns import ModuleTests, ModuleTurn, run_module_turns, sandbox_with
from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.duet.duet import DuetResult
from spiritsafe.tasks.sandbox.sandbox import SandboxFailure
from spiritsafe.tasks.sandbox.walls import closed_folder

WRONG = PRICES.replace("* self.num", "+ self.num")


@pytest.fixture
def module_tests(tmp_path: Path) -> ModuleTests:
    module = python_module(shop_project(tmp_path) / "src" / "shop" / "prices.py")
    return ModuleTests(module=module, text=GOOD, name="test_prices.py")


def run(tests: ModuleTests, text: str, turns: Sequence[ModuleTurn], *programs: str, cpu_s: float = 2.0) -> DuetResult:
    sandbox = sandbox_with(tests.module.environment.readable_parts(tests.module.tops))
    told = ModuleTests(module=tests.module, text=text, name=tests.name, without=tests.without)
    return run_module_turns(sandbox, told, [PRICES, *programs], turns, cpu_s=cpu_s)


@every_layer
def test_each_program_has_its_turns(layer: str, module_tests: ModuleTests, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox_of(layer)
    monkeypatch.setattr("spiritsafe.assist.python.turns.Sandbox", lambda extra: _Sandbox(layer, extra))
    sandbox = sandbox_with.__wrapped__(module_tests.module.environment.readable_parts(module_tests.module.tops))
    programs = [PRICES, WRONG, "def (", "1 / 0\n", PRICES.replace("total", "sums")]
    order = [0, 1, 2, 3, 4, 0]
    turns = [ModuleTurn(one) for one in order]
    environment = module_tests.module.environment
    places = [environment.executable, *map(Path, environment.readable_parts(module_tests.module.tops))]
    closed = [folder for path in places if (folder := closed_folder(path)) is not None]
    if layer == "landlock" and os.geteuid() == 0 and closed:
        with pytest.raises((TaskError, SandboxFailure)) as raised:
            run_module_turns(sandbox, module_tests, programs, turns, cpu_s=2.0)
        assert re.search(rf"chmod o\+x ({'|'.join(map(str, closed))})\)", raised.value.hint)
        return
    result = run_module_turns(sandbox, module_tests, programs, turns, cpu_s=2.0)
    assert result.stop is None
    assert result.layer.startswith(layer)
    assert [turn.program for turn in result.turns] == order
    right, wrong, syntax, raises, other, again = result.turns
    names = ["test_price", "test_total", "test_others_see_it", "test_fibonacci", "test_checked", "test_state"]
    assert [test.test for test in right.tests] == names
    assert right.has_passed
    assert again.has_passed
    assert [test.test for test in wrong.tests if test.outcome == "failed"] == names[:3]
    assert wrong.tests[0].why.startswith("assertion: assert 5 == 6")
    assert (syntax.lost or "").startswith("SyntaxError")
    assert raises.lost == "ZeroDivisionError: division by zero"
    assert (other.lost or "").startswith("ImportError")  # the package imports what is not there
    assert all(turn.has_ended for turn in result.turns)


def _Sandbox(layer: str, extra: tuple[str, ...]) -> object:
    from spiritsafe.tasks.sandbox.sandbox import Sandbox

    return Sandbox(layer=layer, extra=extra, num_boxes=1)


def test_tests_are_in_the_order_of_the_text_or_shuffled(module_tests: ModuleTests) -> None:
    turns = [ModuleTurn(0), *(ModuleTurn(0, seed) for seed in range(4)), ModuleTurn(0, 2)]
    orders = [tuple(test.test for test in turn.tests) for turn in run(module_tests, GOOD, turns).turns]
    assert len({tuple(sorted(order)) for order in orders}) == 1
    assert orders[0] == tuple(sorted(orders[0], key=lambda name: GOOD.index(f"def {name}(")))
    assert len({*orders}) > 3
    assert orders[3] == orders[5]


def test_a_traced_turn_tells_the_lines_that_were_run(module_tests: ModuleTests) -> None:
    text = f"{HEAD}def test_a(): assert fibonacci(1) == 1\n"
    plain, traced = run(module_tests, text, [ModuleTurn(0), ModuleTurn(0, is_traced=True)]).turns
    assert plain.lines is None
    assert traced.lines is not None
    lines = PRICES.splitlines()
    run_lines = {lines[number - 1].strip() for number in traced.lines}
    assert {'LOADED.append("once")', "if n < 2:", "return n"} <= run_lines
    assert not {"return fibonacci(n - 1) + fibonacci(n - 2)", "found = 0"} & run_lines


def test_nothing_is_left_for_a_later_turn(module_tests: ModuleTests) -> None:
    text = f"""{HEAD}
import json, os, sys, decimal

def test_marks():
    marks = [getattr(decimal, "mark", None), os.environ.get("MARK"), getattr(pytest, "mark_", None), len(LOADED)]
    decimal.mark = pytest.mark_ = 1
    os.environ["MARK"] = "1"
    LOADED.append(2)
    for place in (".", "/tmp", "/dev/shm", "tests", "project"):
        with pytest.raises(OSError):
            open(f"{{place}}/mark", "w")
    assert marks == [None, None, None, 1]
"""
    for turn in run(module_tests, text, [ModuleTurn(0)] * 3).turns:
        assert turn.has_passed, turn.why_not


def test_tests_that_write_have_a_folder_of_their_own(module_tests: ModuleTests) -> None:
    text = f"""{HEAD}
import os
def test_writes(tmp_path):
    (tmp_path / "a").write_text(str(total([Item("a")])))
    assert (tmp_path / "a").read_text() == "2"
    for name in ("mem", "maps", "environ"):
        with pytest.raises(OSError):
            open(f"/proc/{{os.getppid()}}/{{name}}", "rb")
    for place in ("/dev/shm/mark", "mark", "/tmp/mark", "project/shop/mark.py"):
        assert not os.path.exists(place)
        open(place, "w").close()
"""
    result = run(module_tests, text, [ModuleTurn(0), ModuleTurn(1), ModuleTurn(0)], WRONG)
    assert [turn.has_passed for turn in result.turns] == [True, False, True]
    assert [turn.program for turn in result.turns] == [0, 1, 0]


def test_cases_of_a_test_are_one(module_tests: ModuleTests) -> None:
    text = f"""{HEAD}
@pytest.mark.parametrize("n", [0, 1, 2])
def test_some(n): assert n < 2 or total([])
@pytest.mark.parametrize("n", [0, 1])
def test_all(n): assert checked(n) == n
@pytest.mark.parametrize("n", [0, 1])
def test_half(n):
    if n: pytest.skip("so")
def test_left_out(): assert 0
"""
    tests = ModuleTests(module=module_tests.module, text=text, name="test_prices.py", without=("test_left_out",))
    (turn,) = run(tests, text, [ModuleTurn(0)]).turns
    assert [(test.test, test.outcome) for test in turn.tests] == [
        ("test_some", "failed"),
        ("test_all", "passed"),
        ("test_half", "passed"),
    ]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("import os; os._exit(0)", "it ended its process"),
        ("import os; os.abort()", "it ended its process"),
        ("while True: pass", "it took too long"),
        ("import signal; signal.signal(signal.SIGPROF, signal.SIG_IGN)\n    while True: pass", "it took too long"),
        ("total.__code__", "it looks at the code under test instead of at what it does"),
    ],
)
def test_who_ends_a_turn_is_known(module_tests: ModuleTests, body: str, why: str) -> None:
    text = f"{HEAD}def test_a(): pass\ndef test_b():\n    {body}\ndef test_c(): pass\n"
    (turn,) = run(module_tests, text, [ModuleTurn(0)], cpu_s=0.5).turns
    assert [(test.test, test.why) for test in turn.tests] == [("test_a", ""), ("test_b", why)]
    assert not turn.has_ended


@pytest.mark.parametrize(("stops_early", "num_turns"), [(True, 1), (False, 3)])
def test_turns_after_one_that_did_not_end(module_tests: ModuleTests, stops_early: bool, num_turns: int) -> None:
    tests = replace(module_tests, text=f"{HEAD}def test_a():\n    import os\n    os._exit(0)\n")
    sandbox = sandbox_with(tests.module.environment.readable_parts(tests.module.tops))
    result = run_module_turns(sandbox, tests, [PRICES], [ModuleTurn(0)] * 3, cpu_s=0.5, stops_early=stops_early)
    assert len(result.turns) == num_turns


def test_sets_of_strings_are_in_another_order_in_each_run(module_tests: ModuleTests) -> None:
    text = "def test_a(): assert not hash('a')\n"
    whys = [[turn.tests[0].why for turn in run(module_tests, text, [ModuleTurn(0)] * 2).turns] for _ in range(2)]
    assert whys[0][0] == whys[0][1] != whys[1][0] == whys[1][1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def (", "SyntaxError: invalid syntax"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("raise SystemExit", "SystemExit"),
        ("from shop import prices\nprices.total.__code__", "it looks at the code"),
        ("x = '\\ud800'.encode()", "UnicodeEncodeError"),
    ],
)
def test_tests_that_do_not_load_say_why(module_tests: ModuleTests, text: str, said: str) -> None:
    (turn,) = run(module_tests, text, [ModuleTurn(0)]).turns
    assert (turn.broken or "").startswith(said)
    assert turn.tests == ()


def test_a_report_is_believed_only_as_far_as_it_makes_sense(module_tests: ModuleTests) -> None:
    """A test that finds the descriptor and writes whatever to it."""
    text = f"""{HEAD}
import os
def test_a(): pass
def test_b():
    for descriptor in range(3, 64):
        try: os.write(descriptor, b'{{"test": "test_c", "outcome": "wonderful"}}\\n{{"end": 1}}\\n')
        except OSError: pass
def test_c(): assert 0
"""
    (turn,) = run(module_tests, text, [ModuleTurn(0)]).turns
    assert [(test.test, test.outcome) for test in turn.tests] == [("test_a", "passed"), ("test_b", "exited")]
    assert not turn.has_ended
