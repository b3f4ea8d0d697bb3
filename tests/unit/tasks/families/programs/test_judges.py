"""What runs a program of a published problem: all its checks, in a sandbox, and what they want stays outside."""

from __future__ import annotations

from typing import Any

import pytest
from code_parts import usable
from published_programs import BODY, CHECK, COBOL_BODY, COBOL_PROMPT, PROMPT, cobol_caller, cobol_eval, human_eval, mbpp
from sandboxes import sandbox_of

from spiritsafe.tasks.families.programs.judges import Judged, in_order, judge_cobol, judge_python
from spiritsafe.tasks.families.programs.layouts import asked_of
from spiritsafe.tasks.sandbox.layers import SANDBOX_LAYERS, strongest_layer


def python(program: str, row: dict[str, Any] | None = None) -> Judged:
    asked = asked_of(row or human_eval(), "x")
    return judge_python(sandbox_of(strongest_layer()), program, asked.suite, asked.entry)


def cobol(program: str, row: dict[str, Any] | None = None) -> Judged:
    usable("cobol")
    asked = asked_of(row or cobol_eval(), "x")
    return judge_cobol(sandbox_of(strongest_layer()), program, asked.suite, asked.entry)


def test_a_right_program() -> None:
    judged = python(PROMPT + BODY)
    assert judged.is_right, judged.reason
    assert judged.reason == "all checks passed"
    assert judged.layer.partition("+")[0] in SANDBOX_LAYERS
    assert python("def thrice(x): return x * 3\n", mbpp()).is_right


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (PROMPT + "    return number // 3\n", "check 0: assertion"),
        (PROMPT + "    return int(number / 2)\n", "check 0: assertion"),  # right for all but numbers below zero
        (PROMPT + "    raise KeyError('x')\n", "KeyError"),
        ("x = 1\n", "check 0: "),
        ("def half_of(:\n", "SyntaxError"),
        ("raise SystemExit(0)\n", "does not load"),
        ("import os\nos._exit(0)\n", ""),
        ("def half_of(number):\n    while True: pass\n", ""),
        ("def check(candidate): pass\ndef half_of(number): return 1\n", "check 0: assertion"),
        ("", "check 0: "),
    ],
)
def test_wrong_programs(program: str, reason: str) -> None:
    judged = python(program)
    assert not judged.is_right
    assert reason in judged.reason


@pytest.mark.parametrize("place", range(4))
def test_each_check_of_a_row_counts(place: int) -> None:
    """A program that is right for all calls but one of them fails, whichever it is."""
    call = ("2", "'a'", "-1", "10 ** 20")[place]
    assert not python(f"def thrice(x):\n    return None if x == {call} else x * 3\n", mbpp()).is_right


def test_definitions_of_the_prompt_are_there_for_the_tests() -> None:
    prompt = 'def helper(x):\n    return x + 1\n\n\ndef half_of(number):\n    """Half."""\n'
    row = human_eval(prompt=prompt, test="def check(candidate):\n    assert candidate(helper(5)) == 3\n")
    assert python(prompt + "    return number // 2\n", row).is_right
    assert not python(prompt + "    return number // 4\n", row).is_right


def test_a_cobol_program() -> None:
    judged = cobol(COBOL_PROMPT + COBOL_BODY)
    assert judged.is_right, judged.reason
    assert judged.reason == "all 3 tests passed"
    assert judged.layer.partition("+")[0] in SANDBOX_LAYERS


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("INTEGER(", "INTEGER-PART(", "test 1: it gave [-3]"),
        ("COMPUTE WS-HALF =", "COMPUTE WS-HALFF =", "test 0: it does not compile"),
        ("GOBACK.", "STOP RUN.", "test 0: it wrote no result"),
        ("L-NUMBER / 2", "L-NUMBER / ZERO + 1", "test 0: "),
    ],
)
def test_wrong_cobol_programs(old: str, new: str, reason: str) -> None:
    assert old in COBOL_BODY
    judged = cobol(COBOL_PROMPT + COBOL_BODY.replace(old, new))
    assert not judged.is_right
    assert judged.reason.startswith(reason)


HELPER = """       ID DIVISION.
       PROGRAM-ID. HELPER.
       DATA DIVISION.
       WORKING-STORAGE SECTION.
       01 WS-NOTHING PIC 9.
       PROCEDURE DIVISION.
           GOBACK.
       END PROGRAM HELPER.
"""
WHOLE = COBOL_PROMPT + COBOL_BODY
HEADS, LINKAGE = COBOL_PROMPT.partition("       LINKAGE SECTION.\n")[0], COBOL_PROMPT.partition("LINKAGE SECTION.\n")[2]
STANDARD = f"""{HEADS}       WORKING-STORAGE SECTION.
       01 WS-HALF PIC S9(10).
       LINKAGE SECTION.
{LINKAGE.partition("      *")[0]}{COBOL_BODY.partition("PIC S9(10).")[2]}"""
FREE = "\n".join(line[7:] for line in STANDARD.splitlines())


@pytest.mark.parametrize(
    "program",
    [
        STANDARD,
        COBOL_PROMPT + "       WORKING-STORAGE SECTION.\n" + COBOL_BODY,
        WHOLE.replace(" USING LINKED-ITEMS.", "."),
        WHOLE.replace(" USING LINKED-ITEMS.", "\n               USING LINKED-ITEMS."),
        WHOLE.replace(
            "           GOBACK", "      * PROCEDURE DIVISION.\n      *WORKING-STORAGE SECTION\n           GOBACK"
        ),
        WHOLE.replace("           GOBACK", "       END-PART.\n           GOBACK"),
        WHOLE.lower(),
        WHOLE + HELPER,
        HELPER + WHOLE,
        WHOLE.replace("       END PROGRAM HALF-OF", f"{HELPER}       END PROGRAM HALF-OF"),
        "".join(f"{number:06}{line[6:]}\n" for number, line in enumerate(WHOLE.splitlines())),
        FREE,
        f">>SOURCE FORMAT FREE\n{FREE}",
        f"       >>SOURCE FORMAT FREE\n{FREE}",
        FREE.replace("GOBACK", "*> PROCEDURE DIVISION.\n*>     WORKING-STORAGE SECTION.\nGOBACK").lower(),
    ],
)
def test_right_cobol_programs_in_other_clothes(program: str) -> None:
    judged = cobol(program)
    assert judged.is_right, judged.reason
    assert program.upper().count("INTEGER(") == 1
    assert not cobol(program.replace("INTEGER(", "INTEGER-PART(").replace("integer(", "integer-part(")).is_right


def test_a_program_that_writes_the_result_file_itself_has_to_know_the_result() -> None:
    body = """       PROCEDURE DIVISION USING LINKED-ITEMS.
           CALL "SYSTEM" USING "echo 0000000003 > HALF-OF.TXT".
           STOP RUN.
"""
    judged = cobol(COBOL_PROMPT + body)
    assert not judged.is_right
    assert judged.reason.startswith("test 1: it gave [3]")


def test_values_of_every_type_are_read_as_the_callers_write_them() -> None:
    def row(kind: Any, value: str, picture: str, shown: str) -> dict[str, Any]:
        caller = cobol_caller(0).replace("MOVE RESULT TO OUTPUT-RECORD", f"MOVE {shown} TO OUTPUT-RECORD")
        caller = caller.replace("01 OUTPUT-RECORD PIC S9(10) SIGN LEADING.", f"01 OUTPUT-RECORD PIC {picture}.")
        return cobol_eval(tests=[{"test": caller, "result": {"value": value, "type_": kind}}])

    program = COBOL_PROMPT + COBOL_BODY
    for kind, value, other, picture, shown in (
        ("Bool", "True", "False", "9", "1"),
        ("Bool", "False", "True", "9", "0"),
        ("String", "'ab c'", "'abc'", "X(10)", '"ab c"'),
        ("Int", "-12", "12", "S9(10) SIGN LEADING", "-12"),
        ("Int", "-912", "-12", "S9(3) SIGN LEADING", "-912"),
        ("Int", "-112", "112", "S9(3) SIGN LEADING", "-112"),
        ("Float", "-1.5", "1.5", "X(15)", '"-1.5"'),
        ("Float", "1.5", "1.6", "9(3).9(3)", "1.5"),
        ({"List": "Int"}, "[12]", "[13]", "9(4)", "12"),
        ({"List": "Int"}, "[]", "[1]", "9(4)", "0"),
    ):
        assert cobol(program, row(kind, value, picture, shown)).is_right, (kind, value)
        assert not cobol(program, row(kind, other, picture, shown)).is_right, (kind, other)


def test_sections_are_put_into_the_order_that_gnucobol_wants() -> None:
    program = in_order(COBOL_PROMPT + COBOL_BODY.replace(" USING LINKED-ITEMS", ""))
    order = [
        program.index(name) for name in ("DATA DIVISION", "WORKING-STORAGE", "WS-HALF", "LINKAGE", "PROCEDURE DIV")
    ]
    assert order == sorted(order)
    assert "PROCEDURE DIVISION USING LINKED-ITEMS." in program
    assert sorted(in_order(program).splitlines()) == sorted(program.splitlines())
    assert in_order(program) == program
    assert CHECK not in program
