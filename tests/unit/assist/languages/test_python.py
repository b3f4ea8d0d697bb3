from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
from pythons import environment_with_pytest, other_python, packages_of
from shop_project import GOOD, HEAD, PRICES, shop_project

from spiritsafe.assist.languages.python import SUFFIXES, open_subjects
from spiritsafe.assist.opening import UnusableFile
from spiritsafe.assist.python.environment import environment_of
from spiritsafe.assist.subject import Subject
from spiritsafe.assist.writing.joining import steady_tests
from spiritsafe.core.errors import TaskError
from spiritsafe.core.text.safe_text import hidden_in


@pytest.fixture
def prices(tmp_path: Path) -> Subject:
    (subject,) = open_subjects(shop_project(tmp_path) / "src" / "shop" / "prices.py", most_mutants=1000, seed=0)
    assert not isinstance(subject, UnusableFile)
    return subject


def test_a_subject_says_what_it_is(prices: Subject) -> None:
    assert SUFFIXES == (".py",)
    assert (prices.language, prices.source, prices.path.name) == ("python", PRICES, "prices.py")
    assert prices.test_name == "test_prices.py"
    assert len(prices.mutants) > 30
    assert [one.line for one in prices.mutants] == sorted(one.line for one in prices.mutants)
    assert "`from shop.prices import ...`" in prices.rules()


def test_tests_are_examined_against_the_mutants_and_keep_their_kills(prices: Subject) -> None:
    kills = prices.examine(GOOD)
    assert kills.valid == list(kills.tests)
    survivors = {prices.mutants[place].name for place in range(len(prices.mutants)) if place not in kills.killed_by}
    assert kills.not_run == frozenset()
    assert survivors
    assert len(survivors) < 0.4 * len(prices.mutants), survivors
    noticed = {name for names in kills.killed_by.values() for name in names}
    assert noticed == {*kills.tests}
    kept = prices.only(GOOD, ["test_fibonacci"])
    alone = prices.examine(kept)
    assert alone.tests == ("test_fibonacci",)
    wanted = {place for place, names in kills.killed_by.items() if "test_fibonacci" in names}
    assert {*alone.killed_by} == wanted


def test_other_versions_are_judged_as_mutants_are(prices: Subject) -> None:
    one = prices.mutants[0]
    kills = prices.judge(GOOD, [PRICES, one.source, "def ("])
    assert 0 not in kills.killed_by
    assert kills.killed_by[2] == kills.tests


def test_joined_tests_hold_together(prices: Subject) -> None:
    other = f"{HEAD}\n\ndef test_price():\n    assert Item('b').price() == 3\n"
    text = prices.joined([GOOD, other])
    assert ast.parse(text)
    kills = prices.judge(text, [])
    assert {"test_price", "test_price_2"} <= {*kills.valid}
    assert kills.invalid == {}


def test_a_folder_is_all_its_modules_that_do_something(tmp_path: Path) -> None:
    folder = shop_project(tmp_path)
    subjects = open_subjects(folder, most_mutants=3, seed=1)
    assert [subject.path.name for subject in subjects] == ["prices.py", "rates.py"]
    assert [len(subject.mutants) for subject in subjects] == [3, 3]
    again = open_subjects(folder, most_mutants=3, seed=1)
    assert [one.mutants for one in again] == [one.mutants for one in subjects]
    assert open_subjects(folder, most_mutants=3, seed=2)[0].mutants != subjects[0].mutants


@pytest.mark.parametrize(
    ("text", "said"), [(None, "cannot be read"), ("def (", "not Python"), ("A = 1\n", "nothing to test")]
)
def test_what_cannot_be_tested_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "mod.py").write_text(text)
    with pytest.raises(TaskError, match=said) as caught:
        open_subjects(tmp_path / "mod.py", most_mutants=10, seed=0)
    assert caught.value.hint


@pytest.mark.parametrize("module", ["packaging.version", "packaging.specifiers", "idna.core", "pluggy._tracing"])
def test_installed_modules_are_subjects(module: str) -> None:
    package = pytest.importorskip(module.partition(".")[0])
    path = Path(package.__file__).with_name(f"{module.partition('.')[2]}.py")
    (subject,) = open_subjects(path, most_mutants=4, seed=0)
    kills = subject.examine(f"import {module} as one\ndef test_it(): assert one.__name__ == '{module}' and dir(one)\n")
    assert kills.valid == ["test_it"], kills
    assert kills.not_run == frozenset()


LEANING = """import beside


def scaled(n):
    return n * beside.FACTOR + 1
"""
LEANING_TESTS = """import sys
import traceback
from leaning import scaled


def test_version():
    assert sys.version_info[:2] == {version}


def test_scaled():
    assert [scaled(0), scaled(2)] == [1, 15]


def test_looks():
    assert scaled.__code__.co_code


def test_error():
    try:
        scaled("a")
    except TypeError:
        assert "scaled" in traceback.format_exc()
"""


@pytest.fixture
def leaning(tmp_path: Path) -> Path:
    """A file that needs what is installed in an environment in its folder, that of another Python."""
    python = environment_with_pytest(other_python(), tmp_path / ".venv")
    (packages_of(python) / "beside.py").write_text("FACTOR = 7\n")
    (tmp_path / "leaning.py").write_text(LEANING)
    return tmp_path / "leaning.py"


def test_another_python_runs_what_its_own_environment_has(leaning: Path) -> None:
    python = leaning.parent / ".venv" / "bin" / "python"
    (own,) = open_subjects(leaning, most_mutants=20, seed=0)
    assert not isinstance(own, UnusableFile)
    trouble = own.trouble()
    assert trouble is not None
    assert "No module named 'beside'" in trouble.reason
    assert trouble.hint == f"There is an environment beside it: add --python {python}"
    environment = environment_of(python)
    (other,) = open_subjects(leaning, most_mutants=20, seed=0, python=environment)
    assert not isinstance(other, UnusableFile)
    assert other.trouble() is None
    assert other.needs() != own.needs()
    kills = other.examine(LEANING_TESTS.format(version=environment.version[:2]))
    assert environment.version[:2] != sys.version_info[:2]
    assert dict(kills.invalid) == {"test_looks": "it looks at the code under test instead of at what it does"}
    assert not kills.not_run
    assert kills.coverage == 1.0
    names = {other.mutants[place].name for place in kills.killed_by if "test_scaled" in kills.killed_by[place]}
    assert len(names) >= len(other.mutants) - 1


def test_what_its_runs_hang_on_is_the_rest_of_the_project(tmp_path: Path) -> None:
    package = shop_project(tmp_path) / "src" / "shop"

    def needs() -> str:
        (subject,) = open_subjects(package / "prices.py", most_mutants=3, seed=0)
        assert not isinstance(subject, UnusableFile)
        return subject.needs()

    before = needs()
    assert needs() == before
    (package / "prices.py").write_text(f"{(package / 'prices.py').read_text()}\nMORE = 1\n")
    assert needs() == before  # its own text is apart
    (package / "rates.py").write_text(f"{(package / 'rates.py').read_text()}\nMORE = 1\n")
    assert needs() != before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os\nos._exit(0)\n", "takes too long, or ends the process"),
        ("raise SystemExit(3)\n", "SystemExit"),
        ("open('/etc/passwd')\n", "No such file|Permission denied"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 9))\n", "Error"),
    ],
)
def test_what_cannot_be_imported_says_why(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mod.py"
    path.write_text(f"{text}\n\ndef f(n):\n    return n + 1\n")
    (subject,) = open_subjects(path, most_mutants=2, seed=0)
    assert not isinstance(subject, UnusableFile)
    trouble = subject.trouble()
    assert trouble is not None
    assert re.search(rf"mod\.py cannot be imported in the sandbox: .*({said})", trouble.reason)
    assert trouble.hint.startswith("Look at what it does")
    assert subject.trouble() is trouble


def test_a_test_that_reads_otherwise_than_it_runs_is_dropped_and_told(prices: Subject) -> None:
    hidden = "def test_hidden():\n    assert fibonacci(1) == 1  #\u202e 2 == (1)iccanobif tressa \u2066\n"
    steady = steady_tests(prices, f"{HEAD}\n{hidden}\n\ndef test_seen():\n    assert fibonacci(2) == 1\n")
    assert steady.invalid == {"test_hidden": "it holds U+202E, which nobody can see"}
    assert steady.kills.valid == ["test_seen"]
    assert steady.kills.killed_by
    assert hidden_in(steady.text) is None
