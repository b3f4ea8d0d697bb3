from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spiritsafe.assist.python.inside.outcomes import Report, said

TESTS = """
import unittest
import pytest

def test_passes(): pass
def test_fails(): assert 1 == 2
def test_raises(): {}["a"]
def test_fail(): pytest.fail("told")
def test_skip(): pytest.skip("not now")
def test_exits(): raise SystemExit(3)
def test_interrupts(): raise KeyboardInterrupt("all of it")
def test_leaves(): pytest.exit("the session")
@pytest.fixture
def broken(): raise OSError("setup")
@pytest.fixture
def breaks():
    yield
    raise OSError("teardown")
@pytest.fixture
def leaves():
    yield
    pytest.exit("late")
def test_setup(broken): pass
def test_teardown(breaks): pass
def test_late(leaves): pass
@pytest.mark.xfail
def test_expected(): assert 0
@pytest.mark.xfail
def test_unexpected(): pass
@pytest.mark.parametrize("n", [1, 2])
def test_cases(n): assert n == 1
class TestIn:
    def test_method(self): pass
class TestCase(unittest.TestCase):
    def test_equal(self): self.assertEqual(1, 2)
    def test_fine(self): pass
    def test_skipped(self): raise unittest.SkipTest("so")
class Strange(Exception):
    def __str__(self): raise ValueError
def test_strange(): raise Strange
def test_last(): pass
"""
PROGRAM = """
import os, sys, pytest
from spiritsafe.assist.python.inside.outcomes import ItemOutcomes, Report, run_items
class Plugin:
    def pytest_runtestloop(self, session):
        report = Report(int(sys.argv[2]))
        outcomes = ItemOutcomes()
        session.config.pluginmanager.register(outcomes)
        assert run_items(session.items, outcomes, report) == len(session.items)
        report.leave()
pytest.main(["-p", "no:randomly", "-p", "no:cacheprovider", "-q", "--noconftest", sys.argv[1]], plugins=[Plugin()])
"""


def test_how_each_test_went_is_told_and_none_ends_the_others(tmp_path: Path) -> None:
    (tmp_path / "test_all.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    reading, writing = os.pipe()
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "test_all.py"), str(writing)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    subprocess.run(command, pass_fds=[writing], check=True, stdout=subprocess.DEVNULL, cwd=tmp_path, env=environment)
    os.close(writing)
    with open(reading, encoding="utf-8") as file:
        messages = [json.loads(line) for line in file]
    begun = [one["begin"] for one in messages[::2]]
    told = [(one["test"], one["outcome"], one["why"].partition(" ")[0]) for one in messages[1::2]]
    assert begun == [name for name, *_ in told]
    assert told == [
        ("test_passes", "passed", ""),
        ("test_fails", "failed", "assertion:"),
        ("test_raises", "failed", "KeyError:"),
        ("test_fail", "failed", "Failed:"),
        ("test_skip", "skipped", "Skipped:"),
        ("test_exits", "exited", "SystemExit:"),
        ("test_interrupts", "exited", "KeyboardInterrupt:"),
        ("test_leaves", "exited", "Exit:"),
        ("test_setup", "failed", "OSError:"),
        ("test_teardown", "failed", "OSError:"),
        ("test_late", "exited", "Exit:"),
        ("test_expected", "skipped", "assertion:"),
        ("test_unexpected", "passed", ""),
        ("test_cases", "passed", ""),
        ("test_cases", "failed", "assertion:"),
        ("TestIn.test_method", "passed", ""),
        ("TestCase.test_equal", "failed", "assertion:"),
        ("TestCase.test_fine", "passed", ""),
        ("TestCase.test_skipped", "skipped", "Skipped:"),
        ("test_strange", "failed", "Strange"),
        ("test_last", "passed", ""),
    ]
    assert len(messages) == 2 * len(told)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AssertionError("a\n  b"), "assertion: a b"),
        (AssertionError(), "assertion"),
        (ValueError("x" * 999), "ValueError: " + "x" * 288),
    ],
)
def test_an_error_is_one_short_line(error: Exception, words: str) -> None:
    assert said(error) == words


def test_long_messages_are_written_whole() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, True)
    child = os.fork()
    if not child:
        os.close(reading)
        Report(writing).say({"why": "ä" * 200_000})
        os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as file:
        assert json.loads(file.read()) == {"why": "ä" * 200_000}
    os.waitpid(child, 0)
