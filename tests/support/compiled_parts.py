"""Code in Fortran and COBOL as somebody may have it, with tests of it."""

from __future__ import annotations

from pathlib import Path

SHAPES = """module shapes
  use consts, only: two
  implicit none
contains
  integer function larger(a, b) result(c)
    integer, intent(in) :: a, b
    if (a > b) then
      c = a
    else
      c = b
    end if
  end function larger

  subroutine scale(xs, by)
    real, intent(inout) :: xs(:)
    real, intent(in) :: by
    integer :: i
    do i = 1, size(xs)
      xs(i) = xs(i) * by + two
    end do
  end subroutine scale
end module shapes

program main
  use shapes
  print *, larger(1, 2)
end program
"""
CONSTS = """module consts
  real, parameter :: two = 2.0
end module
"""
SHAPES_TESTS = """module tests
  use shapes
  implicit none
contains
  subroutine test_larger()
    if (larger(1, 2) /= 2) error stop "a"
    if (larger(3, 2) /= 3) error stop "b"
  end subroutine

  subroutine test_wrong()
    if (larger(1, 2) /= 1) error stop "wrong"
  end subroutine

  subroutine test_scale()
    real :: xs(3)
    xs = [1., 2., 3.]
    call scale(xs, 2.)
    if (any(abs(xs - [4., 6., 8.]) > 1e-6)) error stop "c"
  end subroutine
end module
"""
OLD = """C     The sum of the positive ones, as it was written in 1975
      INTEGER FUNCTION POSSUM(N, X)
      INTEGER N, X(1), I
      INCLUDE 'start.inc'
      DO 10 I = 1, N
      IF (X(I) .GT. 0) POSSUM = POSSUM + KEPT(X(I))
   10 CONTINUE
      RETURN
      END
"""
OLD_OTHER = """      INTEGER FUNCTION KEPT(K)
      KEPT = K
      END
"""
OLD_TESTS = """module tests
  implicit none
  integer, external :: possum
contains
  subroutine test_sum()
    if (possum(4, [3, -1, 0, 5]) /= 8) error stop "sum"
  end subroutine
end module
"""
TAX = """       IDENTIFICATION DIVISION.
       PROGRAM-ID. TAX.
       DATA DIVISION.
       WORKING-STORAGE SECTION.
       01 WS-RATE PIC 9V99 VALUE 0.20.
       LINKAGE SECTION.
       COPY ORDER-BOOK.
       01 LK-TAX PIC 9(5)V99.
       PROCEDURE DIVISION USING LK-ORDER LK-TAX.
      * books are cheap. PROGRAM-ID. NONE.
           IF LK-KIND = "B"
               MOVE 0.07 TO WS-RATE
           ELSE
               CALL "RATES" USING WS-RATE
           END-IF
           MULTIPLY LK-NET BY WS-RATE GIVING LK-TAX ROUNDED
           GOBACK.
       END PROGRAM TAX.
"""
ORDER_BOOK = """       01 LK-ORDER.
          05 LK-NET PIC 9(5)V99.
          05 LK-KIND PIC X.
"""
RATES = """>>SOURCE FORMAT FREE
IDENTIFICATION DIVISION.
PROGRAM-ID. RATES.
DATA DIVISION.
LINKAGE SECTION.
01 LK-RATE PIC 9V99.
PROCEDURE DIVISION USING LK-RATE.
    MOVE 0.20 TO LK-RATE
    GOBACK.
END PROGRAM RATES.
"""


def tax_test(name: str, kind: str, tax: str, *, closed: bool = True) -> str:
    """A test program in free form."""
    end = f"END PROGRAM {name}.\n" if closed else ""
    return f"""IDENTIFICATION DIVISION.
PROGRAM-ID. {name}.
DATA DIVISION.
WORKING-STORAGE SECTION.
01 WS-ORDER.
   05 WS-NET PIC 9(5)V99.
   05 WS-KIND PIC X.
01 WS-TAX PIC 9(5)V99.
PROCEDURE DIVISION.
    MOVE 100 TO WS-NET
    MOVE "{kind}" TO WS-KIND
    MOVE 0 TO WS-TAX
    CALL "TAX" USING WS-ORDER WS-TAX
    IF WS-TAX NOT = {tax}
        DISPLAY "it is " WS-TAX
        MOVE 1 TO RETURN-CODE
        GOBACK
    END-IF
    MOVE 0 TO RETURN-CODE
    GOBACK.
{end}"""


TAX_TESTS = f">>SOURCE FORMAT FREE\n{tax_test('TEST-BOOK', 'B', '7')}{tax_test('test-other', 'X', '20')}" + tax_test(
    "TEST-BAD", "X", "21", closed=False
)


def write_shapes(folder: Path) -> Path:
    """The Fortran module, and what it needs; its path."""
    (folder / "consts.f90").write_text(CONSTS)
    (folder / "shapes.f90").write_text(SHAPES)
    return folder / "shapes.f90"


def write_tax(folder: Path) -> Path:
    """The COBOL program, and what it needs; its path."""
    (folder / "order-book.cpy").write_text(ORDER_BOOK)
    (folder / "rates.cbl").write_text(RATES)
    (folder / "tax.cob").write_text(TAX)
    return folder / "tax.cob"
