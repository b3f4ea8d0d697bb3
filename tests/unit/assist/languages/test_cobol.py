from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from compiled_parts import RATES, TAX, TAX_TESTS, tax_test, write_tax
from compilers import COBOL, compiler

from spiritsafe.assist.languages.cobol import open_subjects
from spiritsafe.assist.opening import UnusableFile
from spiritsafe.assist.subject import Subject
from spiritsafe.core.errors import TaskError


def opened(path: Path, *, most: int = 100) -> Subject:
    (subject,) = open_subjects(path, most_mutants=most, seed=0)
    assert not isinstance(subject, UnusableFile)
    return subject


def test_a_program_with_group_items_a_copybook_and_another_program(tmp_path: Path) -> None:
    compiler(COBOL)
    subject = opened(write_tax(tmp_path))
    assert (subject.language, subject.test_name) == ("cobol", "test_tax.cob")
    assert 'the program "TAX"' in subject.rules()
    kills = subject.examine(TAX_TESTS)
    assert kills.tests == ("TEST-BOOK", "TEST-OTHER", "TEST-BAD")
    assert kills.invalid == {"TEST-BAD": "it is 00020.00"}
    assert kills.not_run == frozenset()
    names = [one.name for place, one in enumerate(subject.mutants) if place not in kills.killed_by]
    assert names == ["L11 compare: = -> <=", 'L14 delete: CALL "RATES" USING WS-RATE -> CONTINUE']
    first = subject.examine(subject.only(TAX_TESTS, ["TEST-BOOK"]))
    assert first.tests == ("TEST-BOOK",)
    assert set(first.killed_by) == {place for place, tests in kills.killed_by.items() if "TEST-BOOK" in tests}


def test_storage_of_one_test_is_not_that_of_another(tmp_path: Path) -> None:
    compiler(COBOL)
    subject = opened(write_tax(tmp_path), most=1)
    lazy = TAX.replace('CALL "RATES" USING WS-RATE', "CONTINUE")  # after a book, the rate would be the book's
    one = subject.judge(TAX_TESTS, [lazy])
    assert one.killed_by == {}
    assert subject.judge(
        TAX_TESTS.replace('"X" TO', '"B" TO', 1).replace("= 20\n", "= 7\n"), [lazy, "none"]
    ).killed_by == {1: ("TEST-BOOK", "TEST-OTHER")}


def test_the_file_of_joined_tests_can_be_compiled_and_run_as_it_is(tmp_path: Path) -> None:
    cobc = compiler(COBOL)
    subject = opened(write_tax(tmp_path), most=1)
    good = subject.only(TAX_TESTS, ["TEST-BOOK", "TEST-OTHER"])
    text = subject.joined([good, tax_test("TEST-OTHER", "B", "7", closed=False), good])
    kills = subject.examine(text)
    assert (kills.broken, kills.invalid) == ("", {})
    assert kills.tests == ("TEST-BOOK", "TEST-OTHER", "TEST-OTHER-2", "TEST-BOOK-2", "TEST-OTHER-3")
    (tmp_path / "all.cob").write_text(text)
    (tmp_path / "rates.cbl").write_text(RATES.replace(">>SOURCE", "       >>SOURCE"))
    subprocess.run(
        [cobc, "-x", "-ffold-copy=LOWER", "-o", "all", "all.cob", "tax.cob", "rates.cbl"], cwd=tmp_path, check=True
    )
    done = subprocess.run(["./all"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "5 tests passed\n"


def test_tests_in_fixed_form_are_read_too(tmp_path: Path) -> None:
    compiler(COBOL)
    subject = opened(write_tax(tmp_path), most=1)
    lines = ["      * a test", *(f"       {line}" for line in tax_test("TEST-BOOK", "B", "7").splitlines())]
    kills = subject.examine("\n".join(lines))
    assert (kills.tests, kills.invalid, kills.broken) == (("TEST-BOOK",), {}, "")


def test_a_folder_has_a_subject_for_each_file_that_is_called(tmp_path: Path) -> None:
    compiler(COBOL)
    write_tax(tmp_path)
    (tmp_path / "test_tax.cob").write_text(TAX_TESTS)
    found = open_subjects(tmp_path, most_mutants=2, seed=0)
    assert [one.path.name for one in found] == ["rates.cbl", "tax.cob"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TAX.replace(" USING LK-ORDER LK-TAX", ""), "no COBOL program that others call"),
        (TAX.replace("MULTIPLY", "MULTIPLE"), "does not compile as COBOL"),
        (TAX.replace("books", "caf\xe9"), "is not UTF-8"),
    ],
)
def test_what_cannot_be_tested_is_refused_by_name(text: str, words: str, tmp_path: Path) -> None:
    compiler(COBOL)
    path = write_tax(tmp_path)
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(TaskError, match=words):
        opened(path)


@pytest.mark.parametrize(
    ("tests", "broken"), [("", "there are no tests"), (TAX_TESTS.replace("MOVE", "MOOVE"), "the tests do not compile")]
)
def test_what_is_no_test_is_said(tests: str, broken: str, tmp_path: Path) -> None:
    compiler(COBOL)
    assert opened(write_tax(tmp_path), most=1).examine(tests).broken.startswith(broken)


def test_what_its_runs_hang_on_is_what_lies_beside_it(tmp_path: Path) -> None:
    compiler(COBOL)
    path = write_tax(tmp_path)
    before = opened(path, most=1).needs()
    assert opened(path, most=1).needs() == before
    path.write_text(path.read_text() + "      * A remark.\n")
    assert opened(path, most=1).needs() == before  # its own text is apart
    (tmp_path / "aside.txt").write_text("no code")
    assert opened(path, most=1).needs() == before
    rates = tmp_path / "rates.cbl"
    rates.write_text(rates.read_text() + "*> A remark.\n")
    assert opened(path, most=1).needs() != before


def test_a_neighbour_that_is_no_text_is_no_hindrance(tmp_path: Path) -> None:
    compiler(COBOL)
    path = write_tax(tmp_path)
    (tmp_path / "latin.cob").write_bytes(b"      * \xe4\n")
    assert opened(path, most=1).trouble() is None
