"""Lines that are run, and lines that are not, are marked by hand: those that end in + and in -."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from compiled_parts import SHAPES_TESTS, TAX_TESTS, write_shapes, write_tax
from compilers import COBOL, FORTRAN, compiler
from sandboxes import every_layer, sandbox_of

from spiritsafe.assist.compiled.coverage import counted_share, gcov_beside
from spiritsafe.assist.compiled.subject import CompiledSubject
from spiritsafe.assist.languages import cobol, fortran
from spiritsafe.tasks import Run, Sandbox
from spiritsafe.tasks.code import Kills
from spiritsafe.tasks.code.suites import compiled

ROADS = """module roads
  implicit none
  interface
    integer function outside(k)
      integer, intent(in) :: k
    end function
  end interface
contains
  integer function &
      way(a, b) result(c)
    integer, intent(in) :: a, b
    integer :: i
    if (a > b) then                  !+
      c = a                          !+
    else if (a == b) then            !-
      c = 0                          !-
    else
      c = b                          !-
    end if
    do i = 1, a - 100                !+
      c = c + 1                      !-
    end do
    do while (c > 900)               !+
      c = c - 1                      !-
    end do
    select case (a)
    case (1)
      c = 7                          !-
    case default
      c = inner(c); c = c + 1        !+
      include 'more.inc'
    end select
    if (b > 50) call never()         !+
  contains
    integer function inner(x)
      integer, intent(in) :: x
      inner = x                      !+
      if (x > 1000) return           !+
      inner = outside(x)             !+
    end function
    subroutine never()
      c = 1                          !-
    end subroutine
  end function

  subroutine fails(a)
    integer, intent(in) :: a
    if (a == 0) then                 !-
      error stop "zero"              !-
    end if
  end subroutine
end module

module others
contains
  pure integer function other(k)
    integer, intent(in) :: k
    other = k                        !-
  end function
end module

integer function outside(k)
  integer, intent(in) :: k
  outside = k                        !+
end function

program main
  print *, 'no test can call this'
end program
"""
ROADS_TESTS = """module tests
  use roads
  use others
contains
  subroutine test_way()
    print *, 'roads.f90:15 code.f90 15 1'
    if (way(3, 2) < 0) error stop "way"
  end subroutine
  subroutine test_that_fails()
    if (other(3) /= 3) error stop "other"
    call fails(0)
  end subroutine
  subroutine test_for_ever()
    do while (other(3) == 3)
    end do
  end subroutine
end module
"""
CONSTRUCTS = """subroutine s(a, c, n, x, st)
  implicit none
  integer a, c, i, j, n, x(3)
  character(*) st
  integer, allocatable :: y(:)
  do i = 1, a !+
    c = c + 1 !-
  end do
  do while (c > 100) !+
    c = c + 1 !-
    if (c == 7) exit !-
    if (c == 8) cycle !-
    c = 3 !-
  end do
  do i = 1, a !+
    do j = 1, 3 !-
      c = c + 1 !-
      if (c > 3) cycle !-
      c = 2 !-
    end do
  end do
  outer: do i = 1, 2 !+
    do j = 1, a !+
      if (c > 3) exit outer !-
      if (c > 2) cycle outer !-
    end do
  end do outer
  select case (n)
  case (1)
    c = 7 !-
  case (2)
    c = 9 !+
  case default
    c = 8 !-
  end select
  select case (st)
  case ("a")
    c = 7 !-
  case ("b")
    c = 8 !-
  end select
  if (n == 7) then !+
    c = 1 !-
  else if (n == 8) then !+
    c = 2 !-
  end if
  where (x > 100) !+
    x = 3
  elsewhere
    x = 4
  end where
  forall (i = 1:a) x(i) = 3 !+
  do concurrent (i = 1:a) !+
    x(i) = 3 !-
  end do
  blk: block
    if (n == 2) exit blk !+
    c = 3 !-
  end block blk
  if (n > 7) then !+
    do i = 1, 3 !-
      c = 4 !-
    end do
  end if
  if (n > 7) then !+
    select case (c)
    case (1)
      c = 2 !-
    case default
      c = 3 !-
    end select
  end if
  do
    if (n == 2) exit !+
    c = 4 !-
  end do
  do i = 1, 1 !+
    if (n == 2) cycle !+
    c = 4 !-
  end do
  do i = 1, a !+
    if (n == 2) then !-
      c = 3 !-
    end if
  end do
  do i = 1, a !+
    select case (c)
    case (3)
      c = 5 !-
    end select
  end do
  if (allocated(y)) deallocate (y) !+
  associate (z => c)
    z = 3 !+
  end associate
  call other(c) !+
  if (n == 2) return !+
  c = 4 !-
end subroutine
subroutine other(k)
  implicit none
  integer k
  k = 3 !+
end subroutine
"""
CONSTRUCTS_TESTS = """module tests
  external :: s
contains
  subroutine test_s()
    integer :: c, n, x(3)
    c = 0; n = 2; x = 1
    call s(0, c, n, x, "c")
  end subroutine
end module
"""
CARDS = """C     IN FIXED FORM
      INTEGER FUNCTION STEPS(N)
      INTEGER N
      STEPS = 0                        !+
      IF (N .GT. 100) GOTO 20          !+
      DO 10 I = 1, N                   !+
      STEPS = STEPS + I                !+
   10 CONTINUE
      DO 30 I = 1, N - 4               !+
   30 STEPS = STEPS - 1
      DO I = 1, N - 4                  !+
      STEPS = STEPS - 1                !-
      END DO                                                            CARD0001
      INCLUDE 'more.inc'
      RETURN                           !+
   20 STEPS = -1                       !-
      END
      SUBROUTINE UNUSED(N)
      N = 1                            !-
      END
"""
CARDS_TESTS = """module tests
  integer, external :: steps
contains
  subroutine test_steps()
    if (steps(4) < 10) error stop
  end subroutine
end module
"""
BILL = """       IDENTIFICATION DIVISION.
       PROGRAM-ID. BILL.
       DATA DIVISION.
       WORKING-STORAGE SECTION.
       01 WS-COUNT PIC 99 VALUE 0.
       LINKAGE SECTION.
       01 LK-KIND PIC X.
       01 LK-SUM PIC 9(4).
       PROCEDURE DIVISION USING LK-KIND
               LK-SUM.
       FIRST-PART SECTION.
       FIRST-PARAGRAPH.
           IF LK-KIND = "B"                      *>+
               MOVE 7                            *>+
                 TO LK-SUM
           ELSE
               MOVE 8 TO LK-SUM                  *>-
               DISPLAY "C" MOVE 9 TO LK-SUM      *>-
           END-IF
           PERFORM UNTIL LK-SUM < 9000           *>+
               SUBTRACT 1 FROM LK-SUM            *>-
           END-PERFORM
           PERFORM VARYING WS-COUNT FROM 1 BY 1  *>+
                   UNTIL WS-COUNT > 3            *>+
               CONTINUE                          *>+
           END-PERFORM
           EVALUATE TRUE                         *>+
               WHEN LK-SUM = 1                   *>+
                   MOVE 2 TO LK-SUM              *>-
               WHEN LK-KIND = "B"                *>+
                   MOVE 3 TO LK-SUM              *>+
               WHEN OTHER
                   MOVE 4 TO LK-SUM              *>-
           END-EVALUATE
           PERFORM SECOND-PARAGRAPH              *>+
           CALL "INNER" USING LK-SUM             *>+
           ADD 1 TO LK-SUM                       *>+
               ON SIZE ERROR
                   MOVE 0 TO LK-SUM              *>-
               NOT ON SIZE ERROR
                   MOVE 5 TO LK-SUM              *>+
           END-ADD.
           COPY PART.
      * A COMMENT. MOVE 1 TO LK-SUM.
      *    MOVE 1 TO LK-SUM.
           ALLOCATE 10 CHARACTERS RETURNING WS-P *>+
           GOBACK.                               *>+
       SECOND-PARAGRAPH.
           IF LK-SUM = 77 NEXT SENTENCE          *>+
           ELSE
               MOVE 6 TO LK-SUM.                 *>+
       THIRD-PARAGRAPH.
           MOVE 1 TO LK-SUM                      *>-
           EXIT PROGRAM.                         *>-
       IDENTIFICATION DIVISION.
       PROGRAM-ID. INNER.
       DATA DIVISION.
       LINKAGE SECTION.
       01 LK-SUM PIC 9(4).
       PROCEDURE DIVISION USING LK-SUM.
           MOVE 9 TO LK-SUM                      *>+
           IF LK-SUM = 1                         *>+
               STOP RUN                          *>-
           END-IF.
       END PROGRAM INNER.
       END PROGRAM BILL.
       IDENTIFICATION DIVISION.
       PROGRAM-ID. ANOTHER.
       DATA DIVISION.
       LINKAGE SECTION.
       01 LK-SUM PIC 9(4).
       PROCEDURE DIVISION USING LK-SUM.
           PERFORM UNTIL LK-SUM = 1              *>-
               CONTINUE                          *>-
           END-PERFORM
           GOBACK.                               *>-
       END PROGRAM ANOTHER.
       IDENTIFICATION DIVISION.
       PROGRAM-ID. NOBODY.
       PROCEDURE DIVISION.
           DISPLAY "no test calls this".
       END PROGRAM NOBODY.
""".replace("PIC 99 VALUE 0.\n", "PIC 99 VALUE 0.\n       01 WS-P USAGE POINTER.\n")
PATHS = """       IDENTIFICATION DIVISION.
       PROGRAM-ID. PATHS.
       DATA DIVISION.
       WORKING-STORAGE SECTION.
       01 WS-ITEMS.
          05 WS-ITEM PIC 9 OCCURS 5 TIMES INDEXED BY WS-AT.
       01 WS-TEXT PIC X(3).
       01 WS-COUNT PIC 9(3) VALUE 0.
       LINKAGE SECTION.
       01 LK-SUM PIC 9(4).
       PROCEDURE DIVISION USING LK-SUM.
       BEGINNING.
           MOVE ZEROS TO WS-ITEMS                *>+
           PERFORM WS-COUNT TIMES                *>+
               MOVE 1 TO LK-SUM                  *>-
           END-PERFORM
           PERFORM A-PART THRU B-END             *>+
           PERFORM NEVER-PART WS-COUNT TIMES     *>+
           PERFORM 5 TIMES                       *>+
               ADD 1 TO WS-COUNT                 *>+
               IF WS-COUNT = 2                   *>+
                   EXIT PERFORM CYCLE            *>+
               END-IF
               IF WS-COUNT > 2 EXIT PERFORM      *>+
               END-IF
           END-PERFORM
           SET WS-AT TO 1                        *>+
           SEARCH WS-ITEM                        *>+
               AT END                            *>+
                   MOVE 1 TO LK-SUM              *>+
               WHEN WS-ITEM(WS-AT) = 3           *>+
                   MOVE 2 TO LK-SUM              *>-
           END-SEARCH
           STRING "AB" "CD" DELIMITED BY SIZE    *>+
               INTO WS-TEXT
               ON OVERFLOW
                   MOVE 3 TO LK-SUM              *>+
               NOT ON OVERFLOW
                   MOVE 4 TO LK-SUM              *>-
           END-STRING
           INSPECT WS-TEXT TALLYING WS-COUNT     *>+
               FOR ALL "A"
           IF WS-COUNT = 77                      *>+
               IF LK-SUM = 3                     *>-
                   MOVE 5 TO LK-SUM              *>-
               ELSE
                   PERFORM UNTIL LK-SUM = 0      *>-
                       SUBTRACT 1 FROM LK-SUM    *>-
                   END-PERFORM
               END-IF
           END-IF
           GO TO LAST-PART DEPENDING ON WS-COUNT *>+
           EVALUATE LK-SUM ALSO WS-TEXT          *>+
               WHEN 3 ALSO "ABC"                 *>+
                   GO TO LAST-PART               *>+
               WHEN OTHER
                   DISPLAY "other"               *>-
           END-EVALUATE.
       A-PART.
           MOVE 7 TO LK-SUM.                     *>+
       B-PART.
           IF LK-SUM = 7 GO TO B-END.            *>+
           MOVE 8 TO LK-SUM.                     *>-
       B-END.
           EXIT.                                 *>+
       NEVER-PART.
           MOVE 9 TO LK-SUM.                     *>-
       LAST-PART.
           DIVIDE 7 BY 2 GIVING LK-SUM           *>+
               ON SIZE ERROR DISPLAY "no"        *>-
           END-DIVIDE
           MOVE 0 TO RETURN-CODE                 *>+
           GOBACK.                               *>+
       END PROGRAM PATHS.
"""
PART = "           MOVE 1 TO WS-COUNT.\n           MOVE 2 TO WS-COUNT.\n"


def free(text: str) -> str:
    """The same in free form, with lines of directives in front, so that all numbers are others."""
    lines = [line[7:] if line[6] == " " else f"*>{line[7:]}" for line in text.splitlines()]
    return "\n".join([">>SOURCE FORMAT FREE", "*> in free form", "", *lines, ""])


def called(name: str, program: str, *, after: str = "") -> str:
    return f"""IDENTIFICATION DIVISION.
PROGRAM-ID. {name}.
DATA DIVISION.
WORKING-STORAGE SECTION.
01 WS-KIND PIC X VALUE "B".
01 WS-SUM PIC 9(4) VALUE 0.
PROCEDURE DIVISION.
    DISPLAY "Program-Id: BILL MOVE Line: 17" UPON SYSERR
    CALL "{program}"
    {after}
    MOVE 0 TO RETURN-CODE
    GOBACK.
END PROGRAM {name}.
"""


BILL_TESTS = (
    ">>SOURCE FORMAT FREE\n"
    + called("TEST-BILL", 'BILL" USING WS-KIND "WS-SUM').replace('"WS-SUM"', "WS-SUM")
    + called("TEST-FAILS", 'BILL" USING "C" "WS-SUM', after="MOVE 1 TO RETURN-CODE GOBACK").replace(
        '"WS-SUM"', "WS-SUM"
    )
    + called("TEST-EVER", 'ANOTHER" USING "WS-SUM').replace('"WS-SUM"', "WS-SUM")
)
PATHS_TESTS = ">>SOURCE FORMAT FREE\n" + called("TEST-P", 'PATHS" USING "WS-SUM').replace('"WS-SUM"', "WS-SUM")


class Recording:
    """A sandbox that remembers its runs, and what the last one said."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox, self.layer = sandbox, sandbox.layer
        self.runs: list[Run] = []
        self.said = b""

    def run(self, run: Run):  # type: ignore[no-untyped-def]
        self.runs.append(run)
        result = self.sandbox.run(run)
        self.said = result.steps[-1].out
        return result


def opened(path: Path, *, most: int = 1) -> CompiledSubject:
    is_fortran = path.suffix in fortran.SUFFIXES
    compiler(FORTRAN if is_fortran else COBOL)
    (subject,) = (fortran if is_fortran else cobol).open_subjects(path, most_mutants=most, seed=0)
    assert isinstance(subject, CompiledSubject)
    assert subject.compiling.tracing is not None, "gcov comes with gcc"
    return subject


def told_lines(subject: CompiledSubject, tests: str) -> tuple[Kills, dict[int, str]]:
    """What tests are worth, and of each line that counts whether it was run."""
    recording = Recording(subject.sandbox)
    kills = dataclasses.replace(subject, sandbox=recording).examine(tests)  # type: ignore[arg-type]
    (traced,) = subject.traced
    assert traced is not None
    marks = {1.0: "+", 0.0: "-"}
    shares = {line: counted_share(recording.said, traced.name, frozenset({line})) for line in traced.lines}
    return kills, {line: marks[share] for line, share in shares.items() if share is not None}


def marked_lines(text: str) -> dict[int, str]:
    found = ((number, re.search(r"(?:!|\*>)([+-])$", line)) for number, line in enumerate(text.splitlines(), 1))
    return {number: mark[1] for number, mark in found if mark}


@pytest.mark.parametrize(
    ("name", "text", "tests", "beside"),
    [
        (
            "roads.f90",
            ROADS,
            ROADS_TESTS,
            {"more.inc": "c = c + 1\nif (c < 0) c = 2\nif (c < 0) then\nc = 3\nend if\n"},
        ),
        ("roads.f90", ROADS.replace("\n", "\r\n"), ROADS_TESTS, {"more.inc": "c = c + 1\n"}),
        ("constructs.f90", CONSTRUCTS, CONSTRUCTS_TESTS, {}),
        ("cards.f", CARDS, CARDS_TESTS, {"more.inc": "      STEPS = STEPS + 1\n" * 3}),
        ("bill.cob", BILL, BILL_TESTS, {"part.cpy": PART}),
        ("paths.cob", PATHS, PATHS_TESTS, {}),
        ("bill.cob", free(BILL), BILL_TESTS, {"part.cpy": f"       >>SOURCE FORMAT FREE\n{PART}"}),
    ],
    ids=["free", "windows", "constructs", "fixed", "cobol", "paths", "free cobol"],
)
def test_the_lines_that_run_are_those_marked_by_hand(
    name: str, text: str, tests: str, beside: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "_CPU_S", 1.0)  # there is a test that goes on for ever
    for other, its in beside.items():
        (tmp_path / other).write_text(its)
    (tmp_path / name).write_text(text, newline="")
    kills, lines = told_lines(opened(tmp_path / name, most=4), tests)
    assert kills.broken == ""
    assert len(kills.valid) == 1
    wanted = marked_lines(text)
    assert lines == wanted
    assert kills.coverage == sum(mark == "+" for mark in wanted.values()) / len(wanted)


@pytest.mark.parametrize(("write", "tests"), [(write_shapes, SHAPES_TESTS), (write_tax, TAX_TESTS)])
def test_counting_is_one_run_beside_those_that_judge(write, tests: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    subject = opened(write(tmp_path), most=5)
    recording = Recording(subject.sandbox)
    kills = dataclasses.replace(subject, sandbox=recording).examine(tests)  # type: ignore[arg-type]
    assert kills.coverage == 1.0
    (traced,) = subject.traced
    assert traced is not None
    assert [run.files["code.so"] == traced.code for run in recording.runs if "code.so" in run.files].count(True) == 1
    assert [run.steps for run in recording.runs if "LD_PRELOAD" in run.environment] == [recording.runs[-2].steps]
    assert subject.judge(tests, [subject.source]).coverage is None


@every_layer
@pytest.mark.parametrize(("write", "tests", "share"), [(write_shapes, SHAPES_TESTS, 0.4), (write_tax, TAX_TESTS, 0.8)])
def test_lines_are_counted_in_every_sandbox(write, tests: str, share: float, layer: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    subject = dataclasses.replace(opened(write(tmp_path)), sandbox=sandbox_of(layer))
    kills = subject.examine(subject.only(tests, ["test_scale", "TEST-OTHER"]))
    assert (kills.layer.partition("+")[0], kills.coverage) == (layer, share)


@pytest.mark.parametrize("gcov", [None, "/usr/bin/false", "/usr/bin/echo", "/no/gcov", "/usr/bin/yes"])
def test_without_gcov_the_share_is_not_known_and_all_else_is(gcov: str | None, tmp_path: Path) -> None:
    subject = opened(write_shapes(tmp_path), most=3)
    kills = subject.examine(SHAPES_TESTS)
    tracing = subject.compiling.tracing
    assert tracing is not None
    other = None if gcov is None else dataclasses.replace(tracing, gcov=gcov)
    blind = dataclasses.replace(subject, compiling=dataclasses.replace(subject.compiling, tracing=other), traced=[])
    assert blind.examine(SHAPES_TESTS) == dataclasses.replace(kills, coverage=None)


def test_a_compiler_that_cannot_count_leaves_the_share_unknown(tmp_path: Path) -> None:
    subject = opened(write_tax(tmp_path), most=1)
    tracing = subject.compiling.tracing
    assert tracing is not None
    older = dataclasses.replace(tracing, commands=tuple((*one, "--no-such-option") for one in tracing.commands))
    blind = dataclasses.replace(subject, compiling=dataclasses.replace(subject.compiling, tracing=older))
    kills = blind.examine(TAX_TESTS)
    assert (kills.coverage, blind.traced, len(kills.valid)) == (None, [None], 2)


@pytest.mark.parametrize(
    "command",
    [
        "echo nonsense > code.gcda",
        "head -c 100000 /dev/zero > code.gcda",
        "mkdir code.gcda",
        "ln -s /dev/full code.gcda",
        "ln -s /etc/ld.so.cache code.gcda",
        "sh -c 'sleep 1; rm -f code.gcda; echo later > code.gcda' > /dev/null 2> /dev/null &",
    ],
)
def test_a_test_that_writes_the_counts_itself_changes_no_verdict(command: str, tmp_path: Path) -> None:
    subject = opened(write_shapes(tmp_path), most=4)
    honest = subject.examine(SHAPES_TESTS)
    call = f'    call execute_command_line("{command} 2> /dev/null")\n'
    heading = "  subroutine test_larger()\n"
    kills = subject.examine(SHAPES_TESTS.replace(heading, heading + call))
    assert kills.coverage in (None, 1.0)
    assert dataclasses.replace(kills, coverage=1.0) == honest


def test_tests_that_do_not_hold_where_files_can_be_written_leave_the_share_unknown(tmp_path: Path) -> None:
    subject = opened(write_shapes(tmp_path))
    body = "integer :: failed\n    open (7, file='x', action='write', iostat=failed)\n    if (failed == 0) error stop\n"
    heading = "  subroutine test_larger()\n"
    kills = subject.examine(SHAPES_TESTS.replace(heading, f"{heading}    {body}"))
    assert (kills.valid, kills.coverage) == (["test_larger", "test_scale"], None)


def told(**lines: list[tuple[int, int]]) -> bytes:
    files = [
        {"file": name, "lines": [{"line_number": line, "count": count, "branches": []} for line, count in found]}
        for name, found in lines.items()
    ]
    return json.dumps({"gcc_version": "14", "files": files}).encode()


@pytest.mark.parametrize(
    ("said", "share"),
    [
        (told(code=[(1, 1), (2, 0), (3, 0), (9, 1)]), 1 / 3),
        (told(code=[(1, 0), (1, 5), (2, 0), (2, 0)]), 1 / 2),  # one line of two procedures
        (told(code=[(1, 1), (1, -9), (2, -3)]), 1 / 2),
        (told(book=[(1, 1), (2, 1)], code=[(3, 0)]), 0.0),
        (told(book=[(1, 1)]), None),
        (told(code=[(9, 1)]), None),
        (b"", None),
        (b"\xff{}", None),
        (b"[" * 100_000, None),
        (b'{"files": 3}', None),
        (b'{"files": [{"file": "code", "lines": [{"line_number": "x", "count": 1}]}]}', None),
        (b'{"files": [{"file": "code", "lines": [{"line_number": 1, "count": NaN}]}]}', None),
    ],
)
def test_what_gcov_tells_becomes_a_share(said: bytes, share: float | None) -> None:
    assert counted_share(said, "code", frozenset({1, 2, 3})) == share


def test_gcov_is_looked_for_beside_the_compiler_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "gcov-99").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "two"))
    assert gcov_beside(str(tmp_path / "one" / "gfortran-99"), "gcov-99") == str(tmp_path / "one" / "gcov-99")
    assert gcov_beside(str(tmp_path / "none" / "gfortran-99"), "gcov-99") == str(tmp_path / "two" / "gcov-99")
    assert gcov_beside(str(tmp_path / "one" / "gfortran"), "gcov") is None
