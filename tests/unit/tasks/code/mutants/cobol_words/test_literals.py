from __future__ import annotations

import pytest

from spiritsafe.tasks.code.mutants.cobol_words.literals import literal_changes
from spiritsafe.tasks.code.mutants.cobol_words.sentences import cobol_statements
from spiritsafe.tasks.code.mutants.cobol_words.words import procedure_words


def changes(line: str) -> set[tuple[str, str, str]]:
    source = f"PROCEDURE DIVISION.\n{line}\n"
    return {
        (change.operator, source[start:end], new)
        for statement in cobol_statements(list(procedure_words(source)))
        for change in literal_changes(statement)
        for start, end, new in change.splices
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("MOVE 9 TO A", {("number", "9", "10"), ("number", "9", "8")}),
        ("MOVE 0.05 TO A", {("number", "0.05", "1.05"), ("number", "0.05", "-0.95")}),
        ("COMPUTE A = B - 0", {("number", "0", "1")}),
        ("DIVIDE 1 INTO A", {("number", "1", "2"), ("number", "1", "0")}),
        ("DIVIDE A BY 1 GIVING B", {("number", "1", "2")}),
        ("ADD A(I - 1) TO B", {("arithmetic", "-", "+"), ("number", "1", "2"), ("number", "1", "0")}),
        ("COMPUTE A = FUNCTION REM(B, 1)", {("call", "REM", "MOD"), ("number", "1", "2"), ("number", "1", "0")}),
        ("MOVE LOW-VALUE TO A", {("value", "LOW-VALUE", "HIGH-VALUE")}),
        ("move zeros to a", {("value", "zeros", "1")}),
        ("move 'b' to a", {("string", "'b'", "'X'"), ("string", "'b'", "spaces")}),
        ("MOVE ' ' TO A", {("string", "' '", "'X'")}),
        ("IF (A + B) > C", {("arithmetic", "+", "-")}),
        ("IF A = -B", set()),
        ("GO TO A", set()),
        ("INSPECT A REPLACING ALL ZERO BY 'X'", {("string", "'X'", "'Y'")}),
        ("OPEN INPUT A", set()),
    ],
)
def test_literals(line: str, expected: set[tuple[str, str, str]]) -> None:
    assert changes(line) == expected
