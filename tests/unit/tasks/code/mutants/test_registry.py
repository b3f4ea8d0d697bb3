from __future__ import annotations

import pytest
from mutation import PROGRAMS

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code.mutants.registry import mutable_languages, mutants_of

LANGUAGES = {".f90": "fortran", ".f": "fortran", ".cob": "cobol", ".cbl": "cobol"}


def test_languages_are_the_files() -> None:
    assert mutable_languages() == ("cobol", "fortran", "python")
    with pytest.raises(TaskError, match='"rust"') as error:
        mutants_of("fn main() {}", "rust")
    assert "cobol, fortran, python" in error.value.hint
    with pytest.raises(TaskError):
        mutants_of("x", "python_syntax")


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_mutants_are_in_order_and_all_different(path: object) -> None:
    source = path.read_text("utf-8")  # type: ignore[attr-defined]
    mutants = mutants_of(source, LANGUAGES[path.suffix])  # type: ignore[attr-defined]
    places = [(one.line, one.column) for one in mutants]
    assert places == sorted(places)
    texts = [one.source for one in mutants]
    assert len({source, *texts}) == len(texts) + 1
    assert texts == [one.source for one in mutants_of(source, LANGUAGES[path.suffix])]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("language", "source"), [("python", "def f(:"), ("fortran", "! none\n"), ("cobol", "MOVE A")])
def test_what_is_no_program_is_refused(language: str, source: str) -> None:
    with pytest.raises(TaskError):
        mutants_of(source, language)


def test_two_edits_that_give_one_text_are_one_mutant() -> None:
    """A branch of one statement: without the statement, and without what the branch does."""
    lines = ("PROCEDURE DIVISION.", "EVALUATE X", "WHEN A", "MOVE B TO C", "END-EVALUATE.")
    mutants = mutants_of("\n".join(lines), "cobol")
    assert [one.after for one in mutants if one.line == 4] == ["CONTINUE"]
