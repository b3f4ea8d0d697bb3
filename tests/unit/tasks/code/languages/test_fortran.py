from __future__ import annotations

import re
from random import Random

import pytest
from code_parts import MIX, MIXED, MIXED_INPUTS, mixed, tried

from spiritsafe.tasks.code.languages import fortran
from spiritsafe.tasks.code.languages.language import language_named
from spiritsafe.tasks.code.languages.signature import VALUE_TYPES, CodeSignature
from spiritsafe.tasks.code.languages.trial import Failure
from spiritsafe.tasks.sandbox.job import Limits

ONE = CodeSignature("f", (("x", "int"),), "int")
BARE = """function NAME(x) result(answer)
  integer(8), intent(in) :: x
  integer(8) :: answer
  BODY
end function NAME
"""


def bare(body: str, name: str = "f") -> str:
    return BARE.replace("NAME", name).replace("BODY", body)


def kinds(found: list[object]) -> list[object]:
    return [one.kind if isinstance(one, Failure) else one for one in found]


def test_skeletons_compile_with_a_body_in_the_place_of_dots() -> None:
    bodies = {"int": "answer = a", "bool": "answer = b", "str": "answer = c", "ints": "answer = d"}
    values = {"int": 3, "bool": True, "str": " x ", "ints": [4, 5]}
    for kind in VALUE_TYPES:
        signature = CodeSignature("f_g", (("a", "int"), ("b", "bool"), ("c", "str"), ("d", "ints")), kind)
        skeleton = language_named("fortran").skeleton(signature)
        assert skeleton.count("! ...") == 1
        source = skeleton.replace("! ...", bodies[kind])
        assert tried("fortran", source, signature, [[3, True, " x ", [4, 5]]]) == [values[kind]]


def test_functions_without_a_module_get_one() -> None:
    alone = MIXED["fortran"].split("contains")[1].replace("end module solution", "")
    assert tried("fortran", alone, MIX, MIXED_INPUTS) == [mixed(*inputs) for inputs in MIXED_INPUTS]  # type: ignore[arg-type]
    two = "! module nothing\n" + bare("answer = twice(x)") + bare("answer = 2 * x", "twice")
    assert tried("fortran", two, ONE, [[4]]) == [8]


def test_modules_of_other_names_and_programs_beside_them_are_accepted() -> None:
    module = f"MODULE Tools\ncontains\n{bare('answer = x + 1')}END MODULE Tools\n"
    program = "program test\n  use tools\n  print *, f(1_8)\nend program test\n"
    other = f"module later\ncontains\n{bare('answer = 7', 'g')}end module\n"
    assert tried("fortran", module + other + program, ONE, [[4]]) == [5]
    assert tried("fortran", module.replace("FUNCTION", "function").upper(), ONE, [[4]]) == [5]


def test_numbers_without_a_kind_go_with_those_that_have_one() -> None:
    source = bare("integer :: n\n n = max(x, 3000000000)\n answer = mod(n, 7) + size([n]) + len('ab')")
    assert tried("fortran", source, ONE, [[1]]) == [3000000000 % 7 + 3]


def test_what_nobody_set_is_the_same_each_time_and_no_zero() -> None:
    left = bare("integer :: kept; integer(8) :: wide\n  answer = abs(kept) + abs(wide) + x")
    assert tried("fortran", left, ONE, [[4], [5]]) == [14146, 14147]
    assert tried("fortran", bare("if (x > 4) answer = 1"), ONE, [[4], [5]]) == [-7071, 1]
    words = BARE.replace("NAME", "f").replace("integer(8) :: answer", "character(len=3) :: answer")
    told = CodeSignature("f", (("x", "int"),), "str")
    assert tried("fortran", words.replace("BODY", "if (x > 4) answer = 'abc'"), told, [[4], [5]]) == ["XXX", "abc"]


def test_one_input_that_fails_loses_no_other() -> None:
    body = """integer(8) :: a(3)
  integer(8), save :: calls = 0
  calls = calls + 1
  a = x
  write (*, '(a)', advance='no') '0 13'
  if (x == 1) a(x + 3) = 0
  if (x == 2) stop
  if (x == 3) error stop 'said so'
  answer = a(2) * calls
  if (x == 4) answer = answer / (x - 4)"""
    found = tried("fortran", bare(body), ONE, [[number] for number in range(7)])
    assert kinds(found) == [0, "crash", "missing", "crash", "crash", 5, 6]
    reasons = [one.reason for one in found if isinstance(one, Failure)]
    assert "above upper bound" in reasons[0]
    assert "said so" in reasons[2]


def test_an_endless_loop_ends_the_trial() -> None:
    source = bare("answer = x\n  do while (answer > 0)\n  answer = max(answer, 1)\n  end do")
    assert kinds(tried("fortran", source, ONE, [[0], [1], [0]], Limits(cpu_s=1.0))) == [0, "time", "time"]


def test_recursion_needs_no_word() -> None:
    body = "if (x < 2) then\n answer = 1\n else\n answer = x * {}(x - 1)\n end if"
    both = bare(body.format("g")) + bare(body.format("f"), "g")
    assert tried("fortran", both, ONE, [[5]]) == [120]


def test_what_does_not_compile_says_why() -> None:
    (found,) = tried("fortran", bare("answer = y +"), ONE, [[1]])
    assert isinstance(found, Failure)
    assert found.kind == "compile"
    assert "solution.f90:" in found.reason
    assert "Error" in found.reason
    (found,) = tried("fortran", bare("answer = x", "g"), ONE, [[1]])
    assert isinstance(found, Failure)
    assert found.kind == "compile"
    (found,) = tried("fortran", bare("answer = 1").replace("integer(8), intent", "real, intent"), ONE, [[1]])
    assert isinstance(found, Failure)
    assert "Type mismatch" in found.reason


def test_a_result_that_was_never_made_is_a_crash_and_no_value() -> None:
    signature = CodeSignature("f", (("x", "int"),), "ints")
    source = bare("continue").replace("integer(8) :: answer", "integer(8), allocatable :: answer(:)")
    (found,) = tried("fortran", source, signature, [[1]])
    assert found == [] or kinds([found]) == ["crash"]


def test_a_missing_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    language = language_named("fortran")
    monkeypatch.setattr(fortran, "fortran_compiler", lambda: None)
    assert str(language.why_not()).startswith("gfortran is not installed: apt-get install")


WHOLE = re.compile(
    r"^[ \t]*program[ \t]+\w+[ \t]*$.*?^[ \t]*end[ \t]*program\b[^\n]*$", re.IGNORECASE | re.MULTILINE | re.DOTALL
)


def test_programs_are_left_out_and_what_has_no_end_stays() -> None:
    rng = Random(0)
    lines = ("program a", " PROGRAM b ", "end program", "endprogram a ! x", "end program a", "x = 1", "", "program")
    for _ in range(2000):
        source = "\n".join(rng.choices(lines, k=rng.randrange(9)))
        assert fortran._without_programs(source) == WHOLE.sub("", source)
    endless = "program a\n" * 100_000  # as models write that never end
    assert fortran._without_programs(endless) == endless
