from __future__ import annotations

import ast
from pathlib import Path

import pytest
from shop_project import GOOD, HEAD, PRICES, shop_project

from spiritsafe.assist.languages.python import SUFFIXES, open_subjects
from spiritsafe.assist.subject import Subject
from spiritsafe.core.errors import TaskError


@pytest.fixture
def prices(tmp_path: Path) -> Subject:
    (subject,) = open_subjects(shop_project(tmp_path) / "src" / "shop" / "prices.py", most_mutants=1000, seed=0)
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
