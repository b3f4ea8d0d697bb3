from __future__ import annotations

import ast
import random
import subprocess
import sys
from pathlib import Path

import pytest

from spiritsafe.assist.python.joining import joined_tests

ONE = '''"""Tests of one."""
from __future__ import annotations

import json
import os.path
from math import floor, sqrt

import pytest

LIMIT = 3


@pytest.fixture
def given():
    return LIMIT


def shared(a):
    return a + 1


def test_it(given):
    assert given == 3 and floor(sqrt(9)) == 3


def test_same():
    assert shared(1) == 2


class TestC:
    def test_x(self):
        assert json.dumps(LIMIT) == "3"
'''
TWO = """import json
import os
from math import ceil, floor as f
from operator import add as floor

import pytest

LIMIT = 4


@pytest.fixture
def given():
    return LIMIT


def shared(a):
    return a + 1


def test_it(given):
    assert given == 4, f"{given} and {LIMIT}"


def test_same():
    assert shared(1) == 2


class TestC:
    def test_x(self, given):
        assert json.dumps(LIMIT) == "4" and given == LIMIT
        assert f(ceil(1.5)) == 2 and floor(1, 2) == 3 and os.path


@pytest.mark.usefixtures("given")
def test_new():
    LIMIT = 5
    assert LIMIT == 5
"""


def outcomes(text: str, folder: Path) -> dict[str, str]:
    """By pytest itself."""
    (folder / "test_joined.py").write_text(text)
    options = ["-p", "no:cacheprovider", "-p", "no:randomly", "-rA", "-q", "--noconftest", "-c", "/dev/null"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", str(folder), str(folder / "test_joined.py")],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    lines = [line.split() for line in result.stdout.splitlines() if line.startswith(("PASSED", "FAILED", "ERROR"))]
    return {line[1].partition("::")[2]: line[0] for line in lines}


def test_clashing_names_are_told_apart_and_all_tests_still_hold(tmp_path: Path) -> None:
    text = joined_tests([ONE, TWO])
    assert outcomes(text, tmp_path) == dict.fromkeys(
        ["test_it", "test_same", "TestC::test_x", "test_it_2", "TestC_2::test_x", "test_new"], "PASSED"
    )
    assert text.count("def shared(") == text.count("def test_same(") == 1
    assert text.startswith("from __future__ import annotations\nimport json\n")
    assert text.count("import json\n") == text.count("import pytest\n") == 1
    assert "from math import floor, sqrt, ceil, floor as f\n" in text
    assert "from operator import add as floor_2\n" in text
    assert "floor_2(1, 2) == 3" in text
    assert "LIMIT = 5\n    assert LIMIT == 5" in text  # a variable of its own


def test_one_text_stays_but_for_its_head() -> None:
    text = joined_tests([ONE])
    assert text.partition("LIMIT = 3")[2] == ONE.partition("LIMIT = 3")[2]
    assert joined_tests([text]) == text
    assert joined_tests([]) == joined_tests(["", "\n"]) == ""


def test_what_leans_on_something_else_is_not_the_same() -> None:
    one = "A = 1\ndef low(): return A\ndef high(): return low()\ndef test_a(): assert high() == 1\n"
    two = one.replace("A = 1", "A = 2").replace("== 1", "== 2")
    space: dict[str, object] = {}
    text = joined_tests([one, two, one])
    exec(text, space)
    for name in ("test_a", "test_a_2"):
        space[name]()  # type: ignore[operator]
    assert "test_a_3" not in text
    assert "high_3" not in text


def test_three_of_a_name_are_three() -> None:
    texts = [f"def test_a():\n    assert f() == {n}\n\n\ndef f():\n    return {n}\n" for n in range(4)]
    space: dict[str, object] = {}
    exec(joined_tests(texts), space)
    for name in ("test_a", "test_a_2", "test_a_3", "test_a_4"):
        space[name]()  # type: ignore[operator]


def test_new_names_are_nobody_elses() -> None:
    one = "def test_a(): pass\ndef test_a_2(): pass\n"
    two = "def test_a(): assert 1\ndef test_a_3(): pass\n"
    found = [node.name for node in ast.parse(joined_tests([one, two])).body if isinstance(node, ast.FunctionDef)]
    assert found == ["test_a", "test_a_2", "test_a_4", "test_a_3"]


def test_imports_that_share_a_line_with_something_stay() -> None:
    text = joined_tests(["import os; x = 1\nimport sys\n", "import sys\nfrom os import *\ny = sys\n"])
    assert text == "import sys\nfrom os import *\n\n\nimport os; x = 1\n\n\ny = sys\n"


def test_long_imports_are_broken() -> None:
    names = [f"name_number_{n}" for n in range(12)]
    text = joined_tests([f"from pack import {', '.join(names)}\n"])
    assert max(map(len, text.splitlines())) <= 100
    node = ast.parse(text).body[0]
    assert isinstance(node, ast.ImportFrom)
    assert [one.name for one in node.names] == names


@pytest.mark.parametrize("seed", range(20))
def test_any_texts_of_functions_give_what_each_gives_alone(seed: int) -> None:
    """Functions that call each other and read constants, drawn from few names; each test holds what it found alone."""
    draw = random.Random(seed)
    texts = []
    for _ in range(3):
        lines = [f"C{n} = {draw.randrange(3)}" for n in range(2)]
        for n in range(4):
            parts = [f"C{draw.randrange(2)}", *([f"h{draw.randrange(n)}()"] if n else [])]
            lines += [f"def h{n}():", f"    return ({draw.choice(parts)}, {draw.randrange(2)})"]
        space: dict[str, object] = {}
        exec("\n".join(lines), space)
        called = draw.randrange(4)
        lines += [f"def test_{draw.randrange(2)}():", f"    assert h{called}() == {space[f'h{called}']()!r}"]  # type: ignore[operator]
        texts.append("\n".join(lines) + "\n")
    joined: dict[str, object] = {}
    exec(joined_tests(texts), joined)
    tests = [value for name, value in joined.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()  # type: ignore[operator]
