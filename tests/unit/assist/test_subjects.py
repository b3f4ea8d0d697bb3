from __future__ import annotations

from pathlib import Path

import pytest
from compiled_parts import write_shapes, write_tax
from compilers import COBOL, FORTRAN, compiler

from spiritsafe.assist.opening import UnusableFile
from spiritsafe.assist.python.environment import own_environment
from spiritsafe.assist.subjects import subjects_at
from spiritsafe.core.errors import RecipeError, SourceError, TaskError


def test_a_folder_has_what_each_language_finds_in_it(tmp_path: Path) -> None:
    compiler(FORTRAN)
    compiler(COBOL)
    write_shapes(tmp_path)
    write_tax(tmp_path)
    found = subjects_at(tmp_path, most_mutants=2, seed=0)
    assert [(one.language, one.path.name) for one in found] == [
        ("cobol", "rates.cbl"),
        ("cobol", "tax.cob"),
        ("fortran", "shapes.f90"),
    ]
    assert all(len(one.mutants) <= 2 for one in found if not isinstance(one, UnusableFile))
    (one,) = subjects_at(tmp_path / "tax.cob", most_mutants=5, seed=0)
    assert one.language == "cobol"


def test_what_is_no_code_names_the_suffixes_that_are(tmp_path: Path) -> None:
    (tmp_path / "a.rs").touch()
    for path in (tmp_path, tmp_path / "a.rs"):
        with pytest.raises(TaskError) as raised:
            subjects_at(path, most_mutants=2, seed=0)
        assert ".cbl" in raised.value.hint
        assert ".f90" in raised.value.hint
    with pytest.raises(SourceError, match="is not there"):
        subjects_at(tmp_path / "b.f90", most_mutants=2, seed=0)


def test_a_folder_goes_on_where_one_of_its_languages_cannot(tmp_path: Path) -> None:
    """As where its compiler is missing, or where its only file is a main program."""
    (tmp_path / "a.py").write_text("def f(n):\n    return n + 1\n")
    (tmp_path / "main.f90").write_text("program main\n  print *, 1\nend program\n")
    found = subjects_at(tmp_path, most_mutants=2, seed=0)
    told = [one.trouble.reason for one in found if isinstance(one, UnusableFile)]
    assert [one.path.name for one in found if not isinstance(one, UnusableFile)] == ["a.py"]
    assert len(told) == 1
    assert "Fortran" in told[0]
    with pytest.raises(TaskError, match="Fortran"):
        subjects_at(tmp_path / "main.f90", most_mutants=2, seed=0)


def test_a_python_for_files_of_other_languages_is_refused(tmp_path: Path) -> None:
    (tmp_path / "main.f90").write_text("program main\n  print *, 1\nend program\n")
    for path in (tmp_path, tmp_path / "main.f90"):
        with pytest.raises(RecipeError, match="--python says nothing"):
            subjects_at(path, most_mutants=2, seed=0, python=own_environment())
