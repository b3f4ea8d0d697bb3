from __future__ import annotations

import pytest

from spiritsafe.tasks.code.mutants.cobol_words.sentences import cobol_statements
from spiritsafe.tasks.code.mutants.cobol_words.words import procedure_words


def parts(lines: str) -> list[str]:
    statements = list(cobol_statements(list(procedure_words(f"PROCEDURE DIVISION.\n{lines}\n"))))
    return [
        " ".join(word.text for word in one.words)
        + (f" | {one.closer.text}" if one.closer else "")
        + (" | clause" if one.has_clause else "")
        + (f" | {len(one.body)} words" if one.body else "")
        for one in statements
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("MAIN. MOVE A TO B ADD C TO D.", ["MOVE A TO B", "ADD C TO D"]),
        ("IF A = B THEN ADD C TO D ELSE STOP RUN END-IF", ["IF A = B", "ADD C TO D", "STOP RUN | END-IF"[:8]]),
        ("ADD A TO B END-ADD", ["ADD A TO B | END-ADD"]),
        ("ADD A TO B ON SIZE ERROR MOVE C TO D NOT ON SIZE ERROR MOVE E TO F END-ADD", [
            "ADD A TO B | clause", "MOVE C TO D | clause", "MOVE E TO F",
        ]),
        ("ADD A TO B SIZE ERROR MOVE C TO D", ["ADD A TO B | clause", "MOVE C TO D"]),
        ("STRING A DELIMITED BY SIZE INTO B END-STRING", ["STRING A DELIMITED BY SIZE INTO B | END-STRING"]),
        ("READ A AT END MOVE B TO C END-READ", ["READ A | clause", "MOVE B TO C"]),
        ("PERFORM A UNTIL B END-PERFORM", ["PERFORM A UNTIL B"]),
        ("EXIT PERFORM MOVE A TO B", ["EXIT PERFORM", "MOVE A TO B"]),
        ("SET END-OF-FILE TO TRUE", ["SET END-OF-FILE TO TRUE"]),
        ("EVALUATE A WHEN 1 WHEN 2 ADD B TO C WHEN OTHER CONTINUE END-EVALUATE", [
            "EVALUATE A", "WHEN 1", "WHEN 2 | 4 words", "ADD B TO C", "WHEN OTHER | 1 words", "CONTINUE",
        ]),
        ("EVALUATE A WHEN 1 EVALUATE B WHEN 2 STOP RUN END-EVALUATE ADD C TO D WHEN 3 GOBACK. ADD E TO F", [
            "EVALUATE A", "WHEN 1 | 11 words", "EVALUATE B", "WHEN 2 | 2 words", "STOP RUN", "ADD C TO D",
            "WHEN 3 | 1 words", "GOBACK", "ADD E TO F",
        ]),
    ],
)  # fmt: skip
def test_statements(lines: str, expected: list[str]) -> None:
    assert parts(lines) == expected
