from __future__ import annotations

import pytest
from mutation import programs

from spiritsafe.tasks.code.mutants.cobol_words.words import cobol_columns, is_free_form, procedure_words


def texts(source: str) -> list[str]:
    words = list(procedure_words(source))
    assert all(source[word.start : word.end] == word.text for word in words)
    return [word.text for word in words]


FREE = "PROCEDURE DIVISION.\n"
FIXED = "000100 PROCEDURE DIVISION.\n"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (FREE + "MOVE 1.5 TO A-1. *> why\n", ["MOVE", "1.5", "TO", "A-1", "."]),
        (FREE + "IF A>=B**2 AND C<>'it''s'\n", ["IF", "A", ">=", "B", "**", "2", "AND", "C", "<>", "'it''s'"]),
        (FREE + "100-MAIN. ADD 1.\n", ["100-MAIN", ".", "ADD", "1", "."]),
        (FREE + '*> ADD\nDISPLAY "*> A"\n', ["DISPLAY", '"*> A"']),
        (FREE + "COPY A REPLACING ==B== BY ==C==\n", ["COPY", "A", "REPLACING", "==B==", "BY", "==C=="]),
        (FREE + "EXEC SQL SELECT A END-EXEC ADD B\n", ["ADD", "B"]),
        ("procedure division using a b.\nadd c\n", ["add", "c"]),
        ("DATA DIVISION.\n01 A VALUE 1.\n" + FREE + "STOP RUN.\nEND PROGRAM X.\n", ["STOP", "RUN", ".", "END"]),
        (FIXED + "000200*    ADD A\n000300     ADD B\n000400D    ADD C\n", ["ADD", "B"]),
        (FIXED + "000200     ADD B".ljust(73) + "ADD C\n", ["ADD", "B"]),
        (FIXED + '000200     DISPLAY "A\n000300-    "B" C\n', ["DISPLAY", '"A', "C"]),
        (FIXED + "\tADD B\n", ["ADD", "B"]),
        (FIXED + "000200     >>IF A\n000200     ADD B\n", ["ADD", "B"]),
    ],
)
def test_words_of_procedures(source: str, expected: list[str]) -> None:
    assert texts(source) == expected


def test_kinds_of_words() -> None:
    words = list(procedure_words(FREE + "MOVE 12 TO A-1 'x' X'41' +"))
    assert [word.kind for word in words] == ["word", "number", "word", "word", "string", "opaque", "sign"]


def test_forms_are_told_apart() -> None:
    found = {path.suffix: is_free_form(path.read_text("utf-8")) for path in programs(".cob", ".cbl")}
    assert found == {".cob": True, ".cbl": False}
    assert is_free_form("       >>SOURCE FORMAT IS FREE\n       MOVE A TO B\n")
    assert not is_free_form(">>SOURCE FORMAT IS FIXED\nMOVE A TO B\n")
    assert is_free_form('      $SET SOURCEFORMAT"FREE"\n')
    assert is_free_form("  MOVE A TO B\n")
    assert not is_free_form("ABC010 MOVE A TO B\n\n000020*REMARK\n      -    'X'\n")
    assert cobol_columns("MOVE A TO B\n").last is None
    assert cobol_columns("       MOVE A TO B\n").has_margin
