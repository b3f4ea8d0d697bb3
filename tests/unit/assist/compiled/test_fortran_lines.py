from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from compiled_parts import OLD, SHAPES
from compilers import FORTRAN, compiler

from spiritsafe.assist.compiled.fortran_lines import counted_fortran_lines, counted_fortran_text
from spiritsafe.tasks.code import fortran_units

CHOICES = """module m
contains
  subroutine s(x, end)
    integer, intent(inout) :: x, end
    integer :: select, i
    select = 1; continue            ! yes
    outer: do
      select case (x)
      case (1)
        x = size([integer :: 1, 2]) ! yes
      case default
        if (x == 1) then            ! yes
          x = 2                     ! yes
        else if (x &                ! yes
                 == 3) then         ! yes
          exit                      ! yes
        else
          cycle outer               ! yes
        endif
      endselect
    end do outer
    do 10 i = 1, 3                  ! yes
      x = 3                         ! yes
10    x = 4
    if (x == 3) goto 20             ! yes
    do i = 1, 3; x = 4; enddo       ! yes
20  do i = 1, 3                     ! yes
    30 end do
  contains
    subroutine inner
      x = 1                         ! yes
    end subroutine
  end subroutine
end module
program p
  use m
  print *, "no test can call this"
end
"""


def test_the_lines_that_count_are_those_that_do_something() -> None:
    wanted = {number for number, line in enumerate(CHOICES.splitlines(), 1) if line.endswith("! yes")}
    assert counted_fortran_lines(CHOICES, fortran_units(CHOICES)) == wanted


def test_a_statement_is_put_before_the_end_of_loops_and_choices_on_its_line() -> None:
    text = counted_fortran_text(CHOICES)
    assert text.replace("continue; ", "") == CHOICES
    changed = [line.strip() for line, old in zip(text.splitlines(), CHOICES.splitlines(), strict=True) if line != old]
    assert changed == [
        "continue; endselect",
        "continue; end do outer",
        "do i = 1, 3; x = 4; continue; enddo       ! yes",
        "30 continue; end do",
    ]


def test_columns_of_the_fixed_form_are_kept() -> None:
    head = "      SUBROUTINE S\n      DO 10 I = 1, 2\n      DO J = 1, 2\n"
    inner = "      END DO".ljust(72) + "CARD 1\n"
    late = "END DO\n".rjust(70)
    text = f"{head}{inner}      DO J = 1, 2\n{late}   10 END DO\n      END\n"
    changed = counted_fortran_text(text)
    assert changed == text.replace(inner, "      continue; END DO".ljust(72) + "CARD 1\n")


@pytest.mark.parametrize(("name", "text"), [("a.f90", CHOICES), ("a.f90", SHAPES), ("a.f", OLD)])
def test_what_was_changed_still_compiles(name: str, text: str, tmp_path: Path) -> None:
    gfortran = compiler(FORTRAN)
    (tmp_path / name).write_text(counted_fortran_text(text))
    (tmp_path / "start.inc").write_text("      POSSUM = 0\n")
    (tmp_path / "consts.f90").write_text("module consts\n  real, parameter :: two = 2.0\nend module\n")
    for one in ("consts.f90", name):
        subprocess.run([gfortran, "-w", "-std=legacy", "-c", one], cwd=tmp_path, check=True)
