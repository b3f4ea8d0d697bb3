from __future__ import annotations

import pytest

from spiritsafe.tasks.code.suites.fortran_units import fortran_tests, fortran_units

HARD = """
MODULE First ! module other
  use solution, only: f
  implicit none
  private :: test_hidden
  interface
    subroutine test_interface()
    end subroutine
  end interface
  type :: thing
    integer :: end
  contains
    procedure :: test_bound
  end type thing
contains
  subroutine TEST_one; call inner(); contains
    subroutine test_inner()
    end subroutine test_inner
  end
  recursive subroutine &
     & test_two &
     ( )
    character(len=30) :: text = 'subroutine test_text()'
    if (f(1) == 2) then
      block
      end block
    end if
  end subroutine test_two
  subroutine test_helper( &
      x)
    integer :: x
  end subroutine
  subroutine test_hidden()
  endsubroutine
  subroutine other()
  end subroutine
  integer function test_function() result(r)
    r = 1
  end function
  integer*8 function test_star()
  end function
  character(len=3) pure function test_text()
  end function
! subroutine test_comment()
  subroutine tests_last
  end subroutine
end module
"""


def test_tests_are_public_subroutines_without_arguments_of_modules() -> None:
    assert fortran_tests(HARD).tests == (("first", "test_one"), ("first", "test_two"), ("first", "tests_last"))
    assert fortran_tests(HARD).text == HARD


def test_what_is_private_by_default_is_no_test() -> None:
    text = """module m
private
public test_a, test_b
contains
subroutine test_a
end
subroutine test_b
end
subroutine test_c
end
end module
module n
contains
subroutine test_a
end
end"""
    assert fortran_tests(text).tests == (("m", "test_a"), ("m", "test_b"), ("n", "test_a"))


def test_a_program_beside_tests_is_left_out() -> None:
    module = "module m\ncontains\nsubroutine test_a\nend subroutine\nend module\n"
    program = "program all\nuse m\ncall test_a()\nend program all"
    found = fortran_tests(f"{module}{program}\n{module.replace('m', 'n', 1)}")
    assert found.tests[0] == ("m", "test_a")
    assert found.text == f"{module}\n{module.replace('m', 'n', 1)}"
    assert found.program == ""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("program check\nuse solution\ncall test_a\ncontains\nsubroutine test_a\nend subroutine\nend program", "check"),
        ("use solution\nif (f(1) /= 2) error stop\nend\n", "program"),
        ("module m\ncontains\nsubroutine other\nend subroutine\nend module\nprogram p\nend program", "p"),
        ("module m\ncontains\nsubroutine other\nend subroutine\nend module\n", ""),
        ("", ""),
        ("! nothing\n", ""),
    ],
)
def test_a_program_is_the_only_test(text: str, name: str) -> None:
    found = fortran_tests(text)
    assert (found.tests, found.program, found.text) == ((), name, text)


def test_subroutines_alone_get_a_module() -> None:
    loose = "subroutine test_a\nend subroutine\nsubroutine test_b()\nend"
    for text in (loose, f"use solution\nimplicit none\ncontains\n{loose}"):
        found = fortran_tests(text)
        (module,) = {module for module, _ in found.tests}
        assert [name for _, name in found.tests] == ["test_a", "test_b"]
        assert found.text.lower().count("contains") == found.text.count("use solution") == 1
        again = fortran_tests(found.text)
        assert again.tests == ((module, "test_a"), (module, "test_b"))


def test_units_are_told_with_their_places_and_what_they_use() -> None:
    text = """! first
module a
  use, intrinsic :: iso_c_binding, only: c_int
  use b; use c, only: d
contains
  pure integer function f(x) result(y)
    use e
    integer, intent(in) :: x
    y = x
  end function f
end module a
program p
  use a
end program
subroutine loose
end
"""
    top = fortran_units(text)
    assert [(one.kind, one.name, one.used) for one in top.inside] == [
        ("module", "a", ["iso_c_binding", "b", "c"]),
        ("program", "p", ["a"]),
        ("subroutine", "loose", []),
    ]
    (f,) = top.inside[0].inside
    assert (f.name, f.used, f.has_arguments) == ("f", ["e"], True)
    assert text[f.start : f.heading_end] == "pure integer function f(x) result(y)"
    assert text[f.start : f.end].endswith("end function f")
    assert text[top.inside[2].start : top.inside[2].end] == "subroutine loose\nend"
