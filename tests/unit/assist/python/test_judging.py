from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pytest
from shop_project import GOOD, HEAD, PRICES, shop_project

from spiritsafe.assist.python import judging
from spiritsafe.assist.python.judging import kills_in_module
from spiritsafe.assist.python.project import python_module
from spiritsafe.assist.python.turns import ModuleTests, sandbox_with
from spiritsafe.tasks.code.duet.kills import Kills

PROGRAMS = [
    PRICES.replace("* self.num", "+ self.num"),
    PRICES.replace("n < 2", "n < 3"),
    PRICES.replace("n < 0", "n < -1"),
    PRICES.replace('append("once")', 'append("more")'),
    PRICES + "\n# the same\n",
    "def (",
    PRICES.replace("found = 0", "while True: pass"),
    PRICES.replace("found = 0", "import os; os._exit(0)"),
]
ALL = ("test_price", "test_total", "test_others_see_it", "test_fibonacci", "test_checked", "test_state")


class Judge(Protocol):
    def __call__(self, text: str, programs: list[str] = ...) -> Kills: ...


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    module = python_module(shop_project(tmp_path_factory.mktemp("shop")) / "src" / "shop" / "prices.py")

    def judge(text: str, programs: list[str] = PROGRAMS[:1]) -> Kills:
        sandbox = sandbox_with(module.environment.readable_parts(module.tops))
        return kills_in_module(sandbox, ModuleTests(module=module, text=text, name="test_prices.py"), programs)

    return judge


def test_each_test_kills_what_it_notices(judged: Judge) -> None:
    kills = judged(GOOD, PROGRAMS)
    assert kills.tests == ALL
    assert (kills.invalid, kills.broken, kills.not_run) == ({}, "", frozenset())
    assert kills.killed_by.keys() == {0, 1, 2, 3, 5, 6, 7}
    assert {*kills.killed_by[0]} == {"test_price", "test_total", "test_others_see_it"}
    assert kills.killed_by[1] == ("test_fibonacci",)
    assert kills.killed_by[2] == ("test_checked",)
    assert kills.killed_by[3] == ("test_state",)
    assert kills.killed_by[5] == ALL  # it does not even load
    for endless in (6, 7):  # the first of those that call it; which one that is depends on the order
        assert {*kills.killed_by[endless]} < {"test_total", "test_others_see_it"}
        assert len(kills.killed_by[endless]) == 1
    assert kills.coverage == 1.0


def test_tests_that_do_not_hold_are_named_and_the_others_count(judged: Judge) -> None:
    text = f"""{HEAD}
import random, sys, os

def test_wrong(): assert total([]) == 1
def test_leaves(): sys.exit()
def test_ends(): os._exit(0)
def test_looks(): assert total.__code__.co_code
def test_chance(): assert random.random() < 0.5
def test_right(): assert Item("a", 3).price() == 6
@pytest.mark.skip
def test_skipped(): pass
def test_interrupts(): raise KeyboardInterrupt
"""
    kills = judged(text)
    names = ["wrong", "leaves", "ends", "looks", "chance", "right", "skipped", "interrupts"]
    assert kills.tests == tuple(f"test_{name}" for name in names)
    assert kills.valid == ["test_right"]
    assert kills.killed_by == {0: ("test_right",)}
    assert kills.invalid["test_wrong"].startswith("assertion: assert 0 == 1")
    assert kills.invalid["test_ends"] == "it ended its process"
    assert kills.invalid["test_looks"].startswith("it looks at the code")


def test_tests_that_lean_on_each_other_do_not_hold(judged: Judge) -> None:
    text = f"""{HEAD}
def test_first(): LOADED.append("first")
def test_second(): assert LOADED[-1] == "first"
def test_third(): assert Item("a", 3).price() == 6
"""
    kills = judged(text)
    assert kills.valid == ["test_first", "test_third"]
    assert kills.invalid == {"test_second": "it passes and fails on the same program"}
    assert kills.killed_by == {0: ("test_third",)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import shop\n", "there are no tests"),
        ("def (", "the tests do not load: SyntaxError"),
        ("import os\nos._exit(0)\n", "the tests did not come to their end"),
        ("def test_a(): pass\nwhile True: pass\n", "the tests did not come to their end"),
    ],
)
def test_tests_that_are_none_are_broken(judged: Judge, text: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "TURN_CPU_S", 1.0)
    kills = judged(text)
    assert kills.broken.startswith(said)
    assert (kills.tests, kills.killed_by) == ((), {})


def test_tests_none_of_which_holds_meet_no_mutant(judged: Judge) -> None:
    kills = judged("import os\ndef test_a(): assert 0\ndef test_b(): os._exit(1)\n")
    assert kills.tests == ("test_a", "test_b")
    assert {*kills.invalid} == {"test_a", "test_b"}
    assert (kills.killed_by, kills.valid, kills.broken) == ({}, [], "")
    only_bad = judged("import os\ndef test_b(): os._exit(1)\n")
    assert (only_bad.tests, only_bad.valid, only_bad.broken) == (("test_b",), [], "")


def test_a_module_that_does_not_load_has_no_tests(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import no_such_module\n\n\ndef f(a):\n    return a + 1\n")
    module = python_module(tmp_path / "bad.py")
    tests = ModuleTests(module=module, text="def test_a(): pass\n", name="test_bad.py")
    kills = kills_in_module(sandbox_with(module.environment.readable_parts(module.tops)), tests, [])
    assert kills.broken == "the program does not load: ModuleNotFoundError: No module named 'no_such_module'"


def test_what_libraries_take_to_import_is_none_of_the_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of computing, where a turn may compute for less than half of it."""
    (tmp_path / "libraries").mkdir()
    slow = "import time\nwhile time.process_time() < 2.0:\n    pass\nONE = 1\n"
    (tmp_path / "libraries" / "slow_library.py").write_text(slow)
    (tmp_path / "quick.py").write_text("import slow_library\n\n\ndef f():\n    return slow_library.ONE\n")
    monkeypatch.syspath_prepend(tmp_path / "libraries")
    module = python_module(tmp_path / "quick.py")
    tests = ModuleTests(
        module=module, text="from quick import f\ndef test_a(): assert f() == 1\n", name="test_quick.py"
    )
    programs = [module.source.replace("ONE", "ONE + 1")]
    kills = kills_in_module(sandbox_with(module.environment.readable_parts(module.tops)), tests, programs)
    assert kills.valid == ["test_a"], kills
    assert kills.killed_by == {0: ("test_a",)}
