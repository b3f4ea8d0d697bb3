from __future__ import annotations

import subprocess
from pathlib import Path

from compiled_parts import CONSTS, OLD, OLD_OTHER, SHAPES
from compilers import FORTRAN, compiler

from spiritsafe.assist.routines.languages.fortran import replacement_in, routines_in


def test_procedures_are_found_and_no_programs() -> None:
    assert [one.name for one in routines_in(SHAPES)] == ["larger", "scale"]
    assert [one.name for one in routines_in(OLD + OLD_OTHER)] == ["possum", "kept"]
    assert routines_in("program p\nend program\n") == routines_in("") == []


def test_a_heading_declares_what_a_caller_must_know() -> None:
    larger, scale = routines_in(SHAPES)
    assert larger.heading.splitlines() == [
        "integer function larger(a, b) result(c)",
        "    integer, intent(in) :: a, b",
        "end function larger",
    ]
    assert "integer :: i" not in scale.heading
    (old,) = routines_in(OLD)
    assert "columns 7 to 72" in old.heading
    assert "\n      INTEGER N, X(1), I\n" in old.heading
    assert "DO 10" not in old.heading


def test_without_a_routine_the_program_compiles(tmp_path: Path) -> None:
    gfortran = compiler(FORTRAN)
    (tmp_path / "consts.f90").write_text(CONSTS)
    for name, source in (("a.f90", SHAPES), ("b.f", OLD + OLD_OTHER)):
        (tmp_path / "start.inc").write_text("      POSSUM = 0\n")
        for one in routines_in(source):
            (tmp_path / name).write_text(one.exchanged(source, one.gone))
            command = [gfortran, "-std=legacy", "-w", "-c", "consts.f90", name]
            subprocess.run(command, cwd=tmp_path, check=True)
            assert (tmp_path / name).read_text().count("error stop") == 1


def test_a_procedure_comes_with_those_beside_it_out_of_a_module() -> None:
    code = "module x\ncontains\nsubroutine a()\nend subroutine\nsubroutine b()\nend subroutine\nend module\n"
    assert replacement_in("", code, "b") == "subroutine a()\nend subroutine\nsubroutine b()\nend subroutine"
    assert replacement_in("", code, "c") is None
    assert replacement_in("", OLD, "possum") == OLD[OLD.index("INTEGER") :].rstrip()
