from __future__ import annotations

from compiled_parts import SHAPES, SHAPES_TESTS

from spiritsafe.assist.compiled.fortran_text import (
    fortran_procedures,
    fortran_test_names,
    joined_fortran_tests,
    without_fortran_tests,
)
from spiritsafe.tasks.code import fortran_tests, fortran_units

TWO = SHAPES_TESTS + SHAPES_TESTS.replace("module tests", "module more").replace("_wrong", "_right")
HELPED = """module helper
contains
  subroutine check(ok)
    logical, intent(in) :: ok
    if (.not. ok) error stop "no"
  end subroutine
end module
module first
  use helper
contains
  subroutine test_a()
    call check(.true.)
  end subroutine
end module
module second
  use helper ! and first%test_a
contains
  subroutine test_b(); call check(1 == 1); end subroutine
end module
program all
  use first
  call test_a()
end program
"""


def names(text: str) -> list[str]:
    return list(fortran_test_names(fortran_tests(text).tests))


def test_only_those_that_are_named_stay() -> None:
    text = without_fortran_tests(SHAPES_TESTS, ["test_larger", "test_scale"])
    assert names(text) == ["test_larger", "test_scale"]
    kept = text[: text.index("program run_tests")]
    assert (
        kept.strip()
        == (
            SHAPES_TESTS[: SHAPES_TESTS.index("  subroutine test_wrong")]
            + SHAPES_TESTS[SHAPES_TESTS.index("  subroutine test_scale") :]
        ).strip()
    )
    assert "call test_larger()\n  call test_scale()\n" in text
    assert "'2 tests passed'" in text


def test_a_module_without_tests_goes_unless_others_lean_on_it() -> None:
    text = without_fortran_tests(HELPED, ["test_b"])
    assert [one.name for one in fortran_units(text).inside] == ["helper", "second", "run_tests"]
    leaning = HELPED.replace("use helper ! and first%test_a", "use first")
    assert [one.name for one in fortran_units(without_fortran_tests(leaning, ["test_b"])).inside] == [
        "helper", "first", "second", "run_tests",
    ]  # fmt: skip
    assert without_fortran_tests(SHAPES_TESTS, []).strip() == ""


def test_names_that_are_twice_are_told_apart_and_then_renamed() -> None:
    assert names(TWO) == [
        "tests.test_larger", "test_wrong", "tests.test_scale", "more.test_larger", "test_right", "more.test_scale",
    ]  # fmt: skip
    one = without_fortran_tests(TWO, ["more.test_scale", "tests.test_larger"])
    assert [name for _, name in fortran_tests(one).tests] == ["test_larger", "test_scale"]
    joined = joined_fortran_tests([TWO])
    assert len(set(names(joined))) == 6
    assert not any("." in name for name in names(joined))


def test_texts_are_joined_with_no_name_twice_and_a_program_that_calls_all() -> None:
    joined = joined_fortran_tests([HELPED, HELPED, SHAPES_TESTS])
    assert names(joined) == ["test_a", "test_b", "test_a_2", "test_b_2", "test_larger", "test_wrong", "test_scale"]
    modules = [one.name for one in fortran_units(joined).inside if one.kind == "module"]
    assert modules == ["helper", "first", "second", "helper_2", "first_2", "second_2", "tests"]
    assert joined.count("program run_tests\n") == 2
    assert "program all" not in joined
    assert "  use helper_2\n" in joined
    assert "  use first_2, only: test_a_2\n" in joined
    assert joined_fortran_tests([joined]) == joined
    assert joined_fortran_tests([joined_fortran_tests([HELPED])]) == joined_fortran_tests([HELPED])


def test_words_in_comments_strings_and_parts_of_types_keep_their_names() -> None:
    text = """module tests
contains
  subroutine test_a() ! test_a
    if (x%test_a == "test_a") error stop
  end subroutine test_a
end module
"""
    joined = joined_fortran_tests([text, text])
    assert 'subroutine test_a_2() ! test_a\n    if (x%test_a == "test_a") error stop' in joined
    assert "end subroutine test_a_2" in joined


def test_the_procedures_that_others_call() -> None:
    assert [one.name for one in fortran_procedures(fortran_units(SHAPES))] == ["larger", "scale"]
    inner = "subroutine a()\ncontains\nsubroutine b()\nend subroutine\nend subroutine\n"
    inner += "program p\ncontains\nsubroutine c()\n"
    assert [one.name for one in fortran_procedures(fortran_units(inner + "end subroutine\nend program\n"))] == ["a"]
