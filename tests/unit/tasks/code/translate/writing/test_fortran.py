from __future__ import annotations

from spiritsafe.tasks.code.languages.signature import CodeSignature
from spiritsafe.tasks.code.translate.reading.reader import read_program
from spiritsafe.tasks.code.translate.translate import translate
from spiritsafe.tasks.code.translate.writing.fortran import write_fortran

GUARDED = """def first_big(xs: list[int], low: int) -> int:
    i = 0
    while i < len(xs) and xs[i] <= low:
        i += 1
    if i < len(xs) and xs[i] % 2 == 0:
        return xs[i] // 2
    low = max(low, 0)
    return low if low < 9 else -1
"""
EXPECTED = """module solution
  implicit none
contains
  function first_big(xs, low) result(answer)
    integer(8), intent(in) :: xs(:)
    integer(8), value :: low
    integer(8) :: answer
    integer(8) :: i

    i = 0
    do
      if (i >= size(xs)) exit
      if (xs(i + 1) > low) exit
      i = i + 1
    end do
    if (i < size(xs)) then
      if (modulo(xs(i + 1), 2) == 0) then
        answer = floor_quotient(xs(i + 1), 2)
        return
      end if
    end if
    low = max(low, 0)
    answer = merge(low, -1, low < 9)
  end function first_big

  function floor_quotient(a, b) result(quotient)
    integer(8), intent(in) :: a, b
    integer(8) :: quotient

    quotient = (a - modulo(a, b)) / b
  end function floor_quotient
end module solution
"""


def test_code_reads_as_people_write_it() -> None:
    """And no index is looked at before its guard, for which ``.and.`` gives no promise."""
    assert write_fortran(read_program(GUARDED, "first_big"), "first_big") == EXPECTED


def body_of(source: str, name: str = "f") -> list[str]:
    text = write_fortran(read_program(source, name), name)
    return [line.strip() for line in text.split("\n\n", 1)[1].split("end function")[0].strip().split("\n")]


def test_names_make_way_for_what_fortran_needs() -> None:
    source = "def f(size: int, answer_: int) -> int:\n    index = size\n    return index\n"
    text = write_fortran(read_program(source.replace("answer_", "count"), "f"), "f")
    assert "function f(size_2, count) result(answer)" in text
    assert "index_2 = size_2" in text
    source = "def f(n: int) -> int:\n    answer = n + 1\n    return answer\n"
    assert body_of(source) == ["answer = n + 1", "outcome = answer"]


def test_only_what_is_needed_comes_along() -> None:
    text = translate(
        "def f(s: str) -> str:\n    return s[::-1]\n", CodeSignature("f", (("s", "str"),), "str"), "fortran"
    )
    assert "function reversed_text" in text
    assert "floor_quotient" not in text
