from __future__ import annotations

from pathlib import Path

import pytest
from mutation import changed_lines, margins_kept, num_compiled, programs

from spiritsafe.tasks.code.mutants.fortran_words.words import is_fixed_form
from spiritsafe.tasks.code.mutants.mutant import sample_mutants
from spiritsafe.tasks.code.mutants.registry import mutants_of


def in_program(line: str, operator: str | None = None) -> set[str]:
    return changed_lines(f"program p\n{line}\nend program\n", "fortran", operator)


def in_cards(line: str, operator: str | None = None) -> set[str]:
    return changed_lines(f"      PROGRAM P\n      {line}\n      END\n", "fortran", operator)


@pytest.mark.parametrize(
    ("line", "operator", "expected"),
    [
        ("c = a < b", "compare", {"c = a <= b", "c = a >= b", "c = a /= b"}),
        ("c = a <= b", "compare", {"c = a < b", "c = a > b", "c = a == b"}),
        ("c = a > b", "compare", {"c = a >= b", "c = a <= b", "c = a /= b"}),
        ("c = a >= b", "compare", {"c = a > b", "c = a < b", "c = a == b"}),
        ("c = a == b", "compare", {"c = a /= b", "c = a <= b", "c = a >= b"}),
        ("c = a /= b", "compare", {"c = a == b", "c = a < b", "c = a > b"}),
        ("c = a .lt. b", "compare", {"c = a .le. b", "c = a .ge. b", "c = a .ne. b"}),
        ("c = a.GT.1.AND.b", "compare", {"c = a.GE.1.AND.b", "c = a.LE.1.AND.b", "c = a.NE.1.AND.b"}),
        ("c = a .and. b", "logic", {"c = a .or. b"}),
        ("c = a .OR. b", "logic", {"c = a .AND. b"}),
        ("c = a .eqv. b", "logic", {"c = a .neqv. b"}),
        ("c = .not. a", "not", {"c =  a"}),
        ("c = .true.", "truth", {"c = .false."}),
        ("c = a + b", "arithmetic", {"c = a - b"}),
        ("c = a - b", "arithmetic", {"c = a + b"}),
        ("c = a * b", "arithmetic", {"c = a / b", "c = a + b"}),
        ("c = a / b", "arithmetic", {"c = a * b"}),
        ("c = a ** b", "arithmetic", {"c = a * b"}),
        ("c = a // b", "arithmetic", set()),
        ("c = a + 0", "arithmetic", set()),
        ("c = -a", "sign", {"c = a"}),
        ("c = (/ 1, 2 /)", "arithmetic", set()),
        ("c = 5", "number", {"c = 6", "c = 4", "c = 0", "c = 1", "c = (-5)"}),
        ("c = 5_8", "number", {"c = 6_8", "c = 4_8", "c = 0_8", "c = 1_8"}),
        ("c = 2147483647", "number", {"c = 2147483646", "c = 0", "c = 1", "c = (-2147483647)"}),
        ("c = a / 2", "number", {"c = a / 3", "c = a / 1"}),
        ("c = mod(a, 2)", "number", {"c = mod(a, 3)", "c = mod(a, 1)"}),
        ("c = a ** 2", "number", {"c = a ** 3", "c = a ** 1", "c = a ** 0"}),
        ("c = xs(3)", "number", {"c = xs(4)", "c = xs(2)", "c = xs(1)"}),
        ("c = s(1:3)", "number", {"c = s(2:3)", "c = s(1:4)", "c = s(1:2)", "c = s(1:1)"}),
        ("c = int(a, 8) + real(b, kind=4)", "number", set()),
        ("c = sum(xs, 1) + sum(xs, dim=2)", "number", set()),
        ("c = 0.5d0", "number", {"c = (0.5d0 + 1.0)", "c = (-0.5d0)"}),
        ("c = min(a, b)", "call", {"c = max(a, b)"}),
        ("c = MAX(a, b)", "call", {"c = MIN(a, b)"}),
        ("c = floor(a)", "call", {"c = ceiling(a)"}),
        ("c = modulo(a, b)", "call", {"c = mod(a, b)"}),
        ("c = abs(a)", "call", {"c = (a)"}),
        ("c = min", "call", set()),
        ("c = 'abc'", "string", {"c = ''", "c = 'Xbc'"}),
        ('c = "X"', "string", {'c = ""', 'c = "Y"'}),
        ("c = ''", "string", {"c = 'X'"}),
        ("c = [ 'ab', 'cd' ]", "string", {"c = [ 'Xb', 'cd' ]", "c = [ 'ab', 'Xd' ]"}),
        ("c = iachar('a')", "string", {"c = iachar('X')"}),
        ("c = a", "delete", {"continue"}),
        ("c%d(1)%e(2:3) = a", "delete", {"continue"}),
        ("CALL F(A, B)", "delete", {"CONTINUE"}),
        ("if (a) c = b", "delete", {"if (a) continue"}),
        ("c = a; d = b", "delete", {"continue; d = b", "c = a; continue"}),
        ("print *, a", "delete", {"continue"}),
        ("return", None, set()),
        ("exit", "loop", {"cycle"}),
        ("if (a) cycle outer", "loop", {"if (a) exit outer"}),
        ("if (a .or. b) then", "condition", {"if (.true.) then", "if (.false.) then"}),
        ("else if (a) then", "condition", {"else if (.true.) then", "else if (.false.) then"}),
        ("if (a) then", "not", {"if (.not. (a)) then"}),
        ("if (a < b) then", "not", set()),  # the opposite comparison says the same
        ("do while (a < b)", "condition", set()),
        ("do i = a, b", "bound", {"do i = a + 1, b", "do i = a - 1, b", "do i = a, b + 1", "do i = a, b - 1"}),
        ("do i = 1, n - 1", "bound", set()),  # the numbers say it already
        ("do i = n, 3, -2", "number", {
            "do i = n, 4, -2", "do i = n, 2, -2", "do i = n, 0, -2", "do i = n, 1, -2", "do i = n, (-3), -2",
            "do i = n, 3, -3", "do i = n, 3, -1",
        }),
        ("write (9, '(i5)') 7", "number", {
            "write (9, '(i5)') 8", "write (9, '(i5)') 6", "write (9, '(i5)') 0", "write (9, '(i5)') 1",
            "write (9, '(i5)') (-7)",
        }),
        ("print '(3i5)', a + b", "arithmetic", {"print '(3i5)', a - b"}),
        ("where (a > b) c = d", "delete", {"where (a > b) continue"}),
        ("c = a &\n  ! why + not\n  & + b", "arithmetic", {"& - b"}),
        ("c = 'a&\n  &b' // 'c'", "string", {"&b' // ''", "&b' // 'X'"}),
        ("c = 'it''s + 1' ! a + b", "arithmetic", set()),
    ],
)  # fmt: skip
def test_statements(line: str, operator: str | None, expected: set[str]) -> None:
    assert in_program(line, operator) == expected


@pytest.mark.parametrize(
    "line",
    [
        "integer :: a = 1 + 2",
        "integer, parameter :: n = 3",
        "real(kind=8) :: x(10)",
        "character(len=5) c",
        "use m, only: a => b",
        "implicit none",
        "function f(a) result(b)",
        "end do",
        "100 format (i5, 2x, 3f8.2)",
        "data a /1/",
        "parameter (n = 3)",
        "case (1)",
        "select case (a)",
        "goto 10",
        "if (a) 10, 20, 30",
        "open (unit=10, file='x')",
        "allocate (a(10))",
        "dimension a(5)",
        "common /b/ c",
        "contains",
        "stop 1",
        "#define A 1",
        "! c = a + b",
        "read (*, *) a",
    ],
)
def test_what_is_not_executed_is_left_alone(line: str) -> None:
    assert in_program(line) == set()


def test_fixed_form() -> None:
    assert in_cards("IF (A .LT. B) C = D + E", "compare") == {
        "IF (A .LE. B) C = D + E", "IF (A .GE. B) C = D + E", "IF (A .NE. B) C = D + E",
    }  # fmt: skip
    assert in_cards("C = A\n     &  + B\nC     C = A + B\n* C = A + B", "arithmetic") == {"&  - B"}
    assert in_cards("X = 1\n10    Y = 2.\n   20 CONTINUE", "delete") == {"CONTINUE", "10    CONTINUE"}
    code = "C = A".ljust(66) + "+ B"  # behind column 72
    assert in_cards(code, "arithmetic") == set()
    full = f"C = A{' ' * 57}.LT."[:66] + "B"
    assert in_cards(full, "number") == set()


@pytest.mark.parametrize("path", programs(".f"), ids=lambda path: path.name)
def test_cards_keep_their_columns(path: Path) -> None:
    source = path.read_text("utf-8")
    assert is_fixed_form(source)
    for mutant in mutants_of(source, "fortran"):
        assert margins_kept(mutant), mutant.name


@pytest.mark.parametrize("path", programs(".f90", ".f"), ids=lambda path: path.name)
def test_mutants_of_real_programs_compile(path: Path) -> None:
    source = path.read_text("utf-8")
    mutants = sample_mutants(mutants_of(source, "fortran"), 40, 7)
    assert len(mutants) == 40
    assert num_compiled([source, *(mutant.source for mutant in mutants)], path.suffix) >= 41 * 0.97
