from __future__ import annotations

from compiled_parts import ORDER_BOOK, RATES, TAX, TAX_TESTS, tax_test

from spiritsafe.assist.compiled.cobol_text import (
    cobol_programs,
    free_cobol,
    joined_cobol_tests,
    without_cobol_tests,
)

FIXED_TEST = "".join(f"000100 {line}\n" for line in tax_test("TEST-BOOK", "B", "7").splitlines())
NESTED = """>>SOURCE FREE
ID DIVISION.
PROGRAM-ID. "Outer".
PROCEDURE DIVISION USING X.
PROGRAM-ID. INNER.
PROCEDURE DIVISION.
END PROGRAM INNER.
END PROGRAM "Outer".
*> PROGRAM-ID. NOT.
IDENTIFICATION DIVISION. PROGRAM-ID. TEST-LAST.
PROCEDURE DIVISION.
    GOBACK.
"""


def names(text: str) -> list[str]:
    return [one.name for one in cobol_programs(text)]


def test_programs_are_told_with_their_ends_and_parameters() -> None:
    (tax,) = cobol_programs(TAX)
    assert (tax.name, tax.has_parameters, tax.is_closed, tax.is_test) == ("TAX", True, True, False)
    assert TAX[tax.start : tax.end] == TAX.strip()
    outer, last = cobol_programs(NESTED)
    assert (outer.name, outer.spelled, outer.has_parameters) == ("OUTER", "Outer", True)
    assert NESTED[outer.start : outer.end].endswith('END PROGRAM "Outer".')
    assert (last.name, last.is_closed, last.is_test, last.end) == ("TEST-LAST", False, True, len(NESTED))
    assert names(TAX_TESTS) == ["TEST-BOOK", "TEST-OTHER", "TEST-BAD"]
    assert names(ORDER_BOOK) == names("") == []
    assert names(RATES + RATES.replace("RATES", "OTHERS").partition("\n")[2]) == ["RATES", "OTHERS"]


def test_fixed_form_becomes_free_form() -> None:
    free = free_cobol(FIXED_TEST)
    assert free is not None
    assert [line[1:] for line in free.splitlines()] == tax_test("TEST-BOOK", "B", "7").splitlines()
    assert free_cobol("      * so\n       GOBACK.  " + " " * 60 + "margin\n") == "*> so\n GOBACK.  " + " " * 56 + "\n"
    assert free_cobol('       MOVE "a\n      -    "b" TO X.\n') is None
    assert free_cobol(RATES) == RATES.partition("\n")[2]


def test_only_those_that_are_named_stay() -> None:
    text = without_cobol_tests(TAX_TESTS, ["TEST-OTHER"])
    assert names(text) == ["RUN-TESTS", "TEST-OTHER"]
    helped = TAX_TESTS + "END PROGRAM TEST-BAD.\n" + RATES.partition("\n")[2]
    assert names(without_cobol_tests(helped, ["TEST-OTHER"])) == ["RUN-TESTS", "TEST-OTHER", "RATES"]
    assert names(without_cobol_tests(text, [])) == []
    assert names(without_cobol_tests(FIXED_TEST, ["TEST-BOOK"])) == ["RUN-TESTS", "TEST-BOOK"]


def test_texts_are_joined_with_no_name_twice_and_a_program_that_calls_all() -> None:
    one = tax_test("TEST-BOOK", "B", "7", closed=False)
    calling = (
        one.replace('CALL "TAX"', 'CALL "helper"')
        + "END PROGRAM TEST-BOOK.\n"
        + RATES.partition("\n")[2].replace("RATES", "Helper")
    )
    joined = joined_cobol_tests([TAX_TESTS, calling, calling])
    assert names(joined) == [
        "RUN-TESTS", "TEST-BOOK", "TEST-OTHER", "TEST-BAD", "TEST-BOOK-2", "HELPER", "TEST-BOOK-3", "HELPER-2",
    ]  # fmt: skip
    assert all(one.is_closed for one in cobol_programs(joined))
    assert 'CALL "HELPER-2"' in joined
    assert 'CALL "TEST-BOOK-3"' in joined
    assert 'CALL "test-other"' in joined  # as it is written: compilers tell small letters from capitals
    assert '"5 tests passed"' in joined
    assert joined_cobol_tests([joined]) == joined
