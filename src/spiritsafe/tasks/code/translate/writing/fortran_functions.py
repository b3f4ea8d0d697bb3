"""Functions in Fortran that a module gets where it needs what Fortran does not have.

In: a name. Out: the function's text, as it stands in a module.
"""

from __future__ import annotations

FORTRAN_FUNCTIONS = {
    "floor_quotient": """
  function floor_quotient(a, b) result(quotient)
    integer(8), intent(in) :: a, b
    integer(8) :: quotient

    quotient = (a - modulo(a, b)) / b
  end function floor_quotient
""",
    "comes_before": """
  function comes_before(a, b) result(is_before)
    character(len=*), intent(in) :: a, b
    logical :: is_before

    is_before = a < b .or. (a == b .and. len(a) < len(b))
  end function comes_before
""",
    "text_of": """
  function text_of(n) result(text)
    integer(8), intent(in) :: n
    character(len=:), allocatable :: text
    character(len=20) :: digits

    write (digits, '(i0)') n
    text = trim(digits)
  end function text_of
""",
    "upper_case": """
  function upper_case(text) result(changed)
    character(len=*), intent(in) :: text
    character(len=len(text)) :: changed
    integer(8) :: i

    changed = text
    do i = 1, len(text)
      if (text(i:i) >= 'a' .and. text(i:i) <= 'z') changed(i:i) = achar(iachar(text(i:i)) - 32)
    end do
  end function upper_case
""",
    "lower_case": """
  function lower_case(text) result(changed)
    character(len=*), intent(in) :: text
    character(len=len(text)) :: changed
    integer(8) :: i

    changed = text
    do i = 1, len(text)
      if (text(i:i) >= 'A' .and. text(i:i) <= 'Z') changed(i:i) = achar(iachar(text(i:i)) + 32)
    end do
  end function lower_case
""",
    "reversed_text": """
  function reversed_text(text) result(changed)
    character(len=*), intent(in) :: text
    character(len=len(text)) :: changed
    integer(8) :: i

    do i = 1, len(text)
      changed(i:i) = text(len(text) + 1 - i:len(text) + 1 - i)
    end do
  end function reversed_text
""",
    "sorted_items": """
  function sorted_items(items) result(ordered)
    integer(8), intent(in) :: items(:)
    integer(8), allocatable :: ordered(:)
    integer(8) :: i, j, item

    ordered = items
    do i = 2, size(ordered)
      item = ordered(i)
      j = i - 1
      do while (j >= 1)
        if (ordered(j) <= item) exit
        ordered(j + 1) = ordered(j)
        j = j - 1
      end do
      ordered(j + 1) = item
    end do
  end function sorted_items
""",
}
