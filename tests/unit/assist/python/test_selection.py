from __future__ import annotations

import ast

import pytest

from spiritsafe.assist.python.selection import only_tests

TESTS = '''"""Tests."""

import pytest
from pack import f

LIMIT = 3


def make(n):
    return wrapped(n)


def wrapped(n):
    return [n]  # a list


@pytest.fixture
def given():
    return make(1)


@pytest.fixture(autouse=True)
def always():
    yield


def setup_module():
    pass


def only_for_b():
    return only_for_b


# about a
def test_a(given):
    assert given == [1]


@pytest.mark.parametrize(
    "n",
    [1, 2],
)
def test_b(n):
    assert f(n) or only_for_b()


class TestC:
    """Of c."""

    limit = LIMIT

    def helper(self):
        return 1

    # about one
    def test_one(self):
        assert self.helper()

    @pytest.mark.usefixtures("given")
    def test_two(self):
        pass


def test_last():
    x = 1; assert x
'''


def names_of(text: str) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.ClassDef)}


ALWAYS = {"always", "setup_module"}


@pytest.mark.parametrize(
    ("names", "stays"),
    [
        (["test_a"], {"test_a", "given", "make", "wrapped"}),
        (["test_b"], {"test_b", "only_for_b"}),
        (["TestC.test_one"], {"TestC", "helper", "test_one"}),
        (["TestC.test_two"], {"TestC", "helper", "test_two", "given", "make", "wrapped"}),
        (["test_last", "TestC.test_one"], {"test_last", "TestC", "helper", "test_one"}),
        ([], set()),
        (["test_two"], set()),  # a method is named with its class
    ],
)
def test_what_is_named_stays_with_what_it_leans_on(names: list[str], stays: set[str]) -> None:
    assert names_of(only_tests(TESTS, names)) == stays | ALWAYS


def test_what_stays_stands_as_it_was_written() -> None:
    everything = ["test_a", "test_b", "TestC.test_one", "TestC.test_two", "test_last"]
    assert only_tests(TESTS, everything) == TESTS
    text = only_tests(TESTS, ["test_b", "TestC.test_two", "test_last"])
    lines = iter(TESTS.splitlines())
    assert all(line in lines for line in text.splitlines() if line.strip())  # in the same order
    assert "# about" not in text
    assert "\n\n\n\n" not in text
    assert text.endswith("    x = 1; assert x\n")


def test_blocks_are_never_left_empty() -> None:
    text = """import sys

if sys.version_info >= (3, 11):
    def test_a(): pass
    def test_b(): pass
else:
    def test_a(): pass
try:
    import numpy
except ImportError:
    def test_c(): pass
class TestIt:
    def test_d(self): pass
def test_e(): pass
"""
    assert names_of(only_tests(text, ["test_e"])) == {"test_e"}
    assert names_of(only_tests(text, ["test_a"])) == {"test_a"}
    assert "import numpy" in only_tests(text, ["test_c"])
    assert names_of(only_tests(text, ["TestIt.missing", "test_c"])) == {"TestIt", "test_c"}


def test_classes_of_unittest_and_their_bases() -> None:
    text = """import unittest


class Shared(unittest.TestCase):
    def setUp(self):
        self.x = 1

    def test_shared(self):
        assert self.x


class Cases(Shared):
    def test_a(self):
        assert self.x

    def test_b(self):
        assert self.x


class Other(unittest.TestCase):
    def test_a(self):
        pass


class Plain:
    def test_this(self):
        return True


def test_plain():
    assert Plain().test_this()
"""
    assert names_of(only_tests(text, ["Cases.test_b"])) == {"Shared", "setUp", "Cases", "test_b"}
    assert names_of(only_tests(text, ["Cases.test_shared"])) == {"Shared", "setUp", "test_shared", "Cases"}
    assert names_of(only_tests(text, ["Other.test_a"])) == {"Other", "test_a"}
    assert names_of(only_tests(text, ["test_plain"])) == {"test_plain", "Plain", "test_this"}


def test_lines_are_counted_as_python_does() -> None:
    text = "def test_a():\n    x = '\x0c\u2028'\n    assert x\r\n\r\ndef test_b():\r\n    pass\r\n"
    assert only_tests(text, ["test_b"]) == "def test_b():\r\n    pass\n"


def test_what_is_not_python_stays() -> None:
    assert only_tests("def (", ["test_a"]) == "def ("
