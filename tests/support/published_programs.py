"""Problems of programming in the layouts of published sets, all of them made up."""

from __future__ import annotations

from typing import Any

PROMPT = '''import math


def half_of(number: int) -> int:
    """Half of a number, rounded down.

    >>> half_of(7)
    3
    """
'''
BODY = "    return math.floor(number / 2)\n"
CHECK = """def check(candidate):
    assert candidate(7) == 3
    assert candidate(-3) == -2
    assert candidate(0) == 0
"""


def human_eval(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A row like HumanEval's."""
    row = {
        "task_id": f"Own/{number}",
        "prompt": PROMPT.replace("rounded down", f"rounded down ({number})"),
        "entry_point": "half_of",
        "canonical_solution": BODY,
        "test": CHECK,
    }
    return {**row, **changes}


GOLD = "class Pair:\n    pass\n\ndef twice(x):\n    return x + x\n\ndef thrice(x):\n    return twice(x) + x\n"
ASSERTS = ["assert thrice(2) == 6", "assert thrice('a') == 'aaa'", "assert thrice(-1) == NEGATIVE"]


def mbpp(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A row like those of the whole MBPP."""
    row = {
        "task_id": number,
        "text": f"Write a function that gives three times its argument ({number}).",
        "code": GOLD.replace("\n", "\r\n"),
        "test_list": ASSERTS,
        "test_setup_code": "NEGATIVE = -3",
        "challenge_test_list": ["assert thrice(10 ** 20) == 3 * 10 ** 20"],
    }
    return {**row, **changes}


def sanitized(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A row like those of MBPP's sanitized half."""
    row = {
        "source_file": "own",
        "task_id": number,
        "prompt": f"Write a function that gives three times its argument ({number}).",
        "code": GOLD,
        "test_imports": ["import math", "NEGATIVE = math.floor(-2.5)"],
        "test_list": ASSERTS,
    }
    return {**row, **changes}


def multipl_e(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A row like MultiPL-E's for Python."""
    row = {
        "name": f"Own_{number}",
        "language": "py",
        "prompt": f'def half_of(number: int) -> int:\n    """Half, rounded down ({number}).\n    """\n',
        "tests": f"{CHECK}\ndef test_check():\n    check(half_of)\n\ntest_check()\n",
        "stop_tokens": ["\ndef"],
    }
    return {**row, **changes}


COBOL_PROMPT = """       IDENTIFICATION DIVISION.
       PROGRAM-ID. HALF-OF.

       ENVIRONMENT DIVISION.

       INPUT-OUTPUT SECTION.

       DATA DIVISION.

       LINKAGE SECTION.

       01 LINKED-ITEMS.
           05 L-NUMBER PIC S9(10).
           05 RESULT PIC S9(10).

      * Half of a number, rounded down.
      * Complete the WORKING-STORAGE SECTION and the PROCEDURE DIVISION

       WORKING-STORAGE SECTION.

"""
COBOL_BODY = """       01 WS-HALF PIC S9(10).

       PROCEDURE DIVISION USING LINKED-ITEMS.
           COMPUTE WS-HALF = FUNCTION INTEGER(L-NUMBER / 2).
           MOVE WS-HALF TO RESULT.
           GOBACK.
       END PROGRAM HALF-OF.
"""


def cobol_caller(number: int) -> str:
    """What calls the program and writes what it gives, as COBOLEval's callers do."""
    return f"""       IDENTIFICATION DIVISION.
       PROGRAM-ID. HALF-OF-CALL.
       ENVIRONMENT DIVISION.
       INPUT-OUTPUT SECTION.
       FILE-CONTROL.
       SELECT OUTPUT-FILE ASSIGN TO "HALF-OF.TXT"
           ORGANIZATION IS LINE SEQUENTIAL
           STATUS IS OUTPUT-FILE-STATUS.
       DATA DIVISION.
       FILE SECTION.
       FD OUTPUT-FILE.
       01 OUTPUT-RECORD PIC S9(10) SIGN LEADING.
       WORKING-STORAGE SECTION.
       01 OUTPUT-FILE-STATUS PIC X(02).
       01 LINKED-ITEMS.
           05 L-NUMBER PIC S9(10).
           05 RESULT PIC S9(10).
       PROCEDURE DIVISION.
       MOVE {number} TO L-NUMBER
       CALL "HALF-OF" USING LINKED-ITEMS
       OPEN OUTPUT OUTPUT-FILE
       MOVE RESULT TO OUTPUT-RECORD
       WRITE OUTPUT-RECORD
       CLOSE OUTPUT-FILE
        .
"""


def cobol_eval(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A row like COBOLEval's."""
    row = {
        "task_id": f"Own/{number}",
        "prompt": COBOL_PROMPT.replace("rounded down", f"rounded down ({number})"),
        "entry_point": "half_of",
        "canonical_solution": BODY,
        "tests": [
            {"test": cobol_caller(one), "result": {"value": str(one // 2), "type_": "Int"}} for one in (7, -7, 0)
        ],
    }
    return {**row, **changes}
