from __future__ import annotations

from spiritsafe.tasks.code.translate.reading.reader import read_program
from spiritsafe.tasks.code.translate.writing.cobol import write_cobol

SOURCE = """def first_big(xs: list[int], low: int) -> int:
    i = 0
    while i < len(xs) and xs[i] <= low:
        i += 1
    for x in xs:
        if x == 1:
            continue
        elif x < low:
            low -= x
        else:
            break
    return scaled(low, i) if i > 2 else -1

def scaled(n: int, by: int) -> int:
    return n * by % 7
"""
EXPECTED = """>>SOURCE FORMAT FREE
IDENTIFICATION DIVISION.
PROGRAM-ID. FIRST-BIG.
DATA DIVISION.
LOCAL-STORAGE SECTION.
01 WS-I PIC S9(18) COMP-5.
01 WS-X PIC S9(18) COMP-5.
01 WS-PLACE PIC S9(18) COMP-5.
LINKAGE SECTION.
01 LK-XS.
   05 LK-XS-LENGTH PIC S9(9) COMP-5.
   05 LK-XS-ITEM PIC S9(18) COMP-5 OCCURS 100 TIMES.
01 LK-LOW PIC S9(18) COMP-5.
01 LK-RESULT PIC S9(18) COMP-5.
PROCEDURE DIVISION USING LK-XS LK-LOW LK-RESULT.
    MOVE 0 TO WS-I
    PERFORM UNTIL WS-I >= LK-XS-LENGTH OR LK-XS-ITEM(WS-I + 1) > LK-LOW
        ADD 1 TO WS-I
    END-PERFORM
    PERFORM VARYING WS-PLACE FROM 1 BY 1 UNTIL WS-PLACE > LK-XS-LENGTH
        MOVE LK-XS-ITEM(WS-PLACE) TO WS-X
        EVALUATE TRUE
            WHEN WS-X = 1
                EXIT PERFORM CYCLE
            WHEN WS-X < LK-LOW
                SUBTRACT WS-X FROM LK-LOW
            WHEN OTHER
                EXIT PERFORM
        END-EVALUATE
    END-PERFORM
    IF WS-I > 2
        CALL "SCALED" USING BY CONTENT LK-LOW WS-I BY REFERENCE LK-RESULT
    ELSE
        MOVE -1 TO LK-RESULT
    END-IF
    GOBACK.
END PROGRAM FIRST-BIG.
IDENTIFICATION DIVISION.
PROGRAM-ID. SCALED.
DATA DIVISION.
LINKAGE SECTION.
01 LK-N PIC S9(18) COMP-5.
01 LK-BY PIC S9(18) COMP-5.
01 LK-RESULT PIC S9(18) COMP-5.
PROCEDURE DIVISION USING LK-N LK-BY LK-RESULT.
    COMPUTE LK-RESULT = FUNCTION MOD(LK-N * LK-BY, 7)
    GOBACK.
END PROGRAM SCALED.
"""


def test_code_reads_as_people_write_it() -> None:
    assert write_cobol(read_program(SOURCE, "first_big"), "first_big") == EXPECTED


def body_of(source: str) -> list[str]:
    text = write_cobol(read_program(source, "f"), "f")
    return [line.strip() for line in text.split("PROCEDURE DIVISION")[1].split("GOBACK")[0].split("\n")[1:-1]]


def test_ends_of_loops_are_worked_out_once_where_they_change() -> None:
    loop = "def f(n: int) -> int:\n    for i in range(n):\n        {}\n    return n\n"
    assert body_of(loop.format("pass"))[0] == "PERFORM VARYING WS-I FROM 0 BY 1 UNTIL WS-I >= LK-N"
    assert body_of(loop.format("n -= 1"))[:2] == [
        "MOVE LK-N TO WS-NUMBER",
        "PERFORM VARYING WS-I FROM 0 BY 1 UNTIL WS-I >= WS-NUMBER",
    ]


def test_conditions_that_need_statements_do_not_run_them_too_early() -> None:
    """A helper is called only where what stands before it has decided nothing."""
    source = """def f(n: int) -> int:
    while n > 1 and g(n):
        n -= 1
    if n > 5 and g(n):
        n = 3
    return n

def g(n: int) -> bool:
    return n > 7
"""
    assert body_of(source) == [
        "PERFORM UNTIL EXIT",
        "IF LK-N <= 1",
        "EXIT PERFORM",
        "END-IF",
        'CALL "G" USING BY CONTENT LK-N BY REFERENCE WS-HOLDS',
        "IF WS-HOLDS = 0",
        "EXIT PERFORM",
        "END-IF",
        "SUBTRACT 1 FROM LK-N",
        "END-PERFORM",
        "IF LK-N > 5",
        'CALL "G" USING BY CONTENT LK-N BY REFERENCE WS-HOLDS',
        "IF WS-HOLDS = 1",
        "MOVE 3 TO LK-N",
        "END-IF",
        "END-IF",
        "MOVE LK-N TO LK-RESULT",
    ]
