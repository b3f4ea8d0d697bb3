from __future__ import annotations

from pathlib import Path

import pytest
from mutation import changed_lines, margins_kept, num_compiled, programs

from spiritsafe.tasks.code.mutants.cobol_words.words import is_free_form
from spiritsafe.tasks.code.mutants.mutant import sample_mutants
from spiritsafe.tasks.code.mutants.registry import mutants_of


def in_procedure(lines: str, operator: str | None = None) -> set[str]:
    return changed_lines(f"DATA DIVISION.\nPROCEDURE DIVISION.\n{lines}\nSTOP RUN.\n", "cobol", operator)


@pytest.mark.parametrize(
    ("line", "operator", "expected"),
    [
        ("IF A < B", "compare", {"IF A <= B", "IF A >= B", "IF A NOT = B"}),
        ("IF A <= B", "compare", {"IF A < B", "IF A > B", "IF A = B"}),
        ("IF A > B", "compare", {"IF A >= B", "IF A <= B", "IF A NOT = B"}),
        ("IF A >= B", "compare", {"IF A > B", "IF A < B", "IF A = B"}),
        ("IF A = B", "compare", {"IF A NOT = B", "IF A <= B", "IF A >= B"}),
        ("IF A <> B", "compare", {"IF A = B", "IF A < B", "IF A > B"}),
        ("IF A NOT = B", "compare", {"IF A = B", "IF A < B", "IF A > B"}),
        ("IF A NOT > B", "compare", {"IF A > B"}),
        ("IF A IS LESS THAN B", "compare", {
            "IF A IS LESS THAN OR EQUAL TO B", "IF A IS GREATER THAN OR EQUAL TO B", "IF A IS NOT EQUAL TO B",
        }),
        ("IF A GREATER OR EQUAL B", "compare", {"IF A GREATER THAN B", "IF A LESS THAN B", "IF A EQUAL TO B"}),
        ("if a equal to b", "compare", {
            "if a not equal to b", "if a less than or equal to b", "if a greater than or equal to b",
        }),
        ("IF P = NULL", "compare", {"IF P NOT = NULL"}),
        ("IF A = B AND C", "logic", {"IF A = B OR C"}),
        ("IF A GREATER THAN OR EQUAL TO B", "logic", set()),
        ("PERFORM UNTIL A OR B", "logic", {"PERFORM UNTIL A AND B"}),
        ("IF NOT A-OPEN", "not", {"IF A-OPEN", "IF NOT (NOT A-OPEN)"}),
        ("IF A-OPEN", "not", {"IF NOT (A-OPEN)"}),
        ("IF A = B", "not", set()),  # the opposite comparison says the same
        ("IF A = B OR C = D", "not", {"IF NOT (A = B OR C = D)"}),
        ("IF A IS NOT NUMERIC", "not", {"IF A IS NUMERIC", "IF NOT (A IS NOT NUMERIC)"}),
        ("IF A = B THEN", "condition", {"IF 1 = 1 THEN", "IF 1 = 0 THEN"}),
        ("PERFORM X UNTIL A = B", "condition", {"PERFORM X UNTIL 1 = 1"}),
        ("ADD A TO B", "arithmetic", {"SUBTRACT A FROM B"}),
        ("add a to b giving c", "arithmetic", {"subtract a from b giving c"}),
        ("ADD A B GIVING C", "arithmetic", set()),  # from what?
        ("ADD A TO B END-ADD", "arithmetic", {"SUBTRACT A FROM B END-SUBTRACT"}),
        ("ADD A TO B ON SIZE ERROR GO TO X END-ADD", "arithmetic", set()),
        ("ADD CORRESPONDING A TO B", "arithmetic", set()),
        ("SUBTRACT A FROM B", "arithmetic", {"ADD A TO B"}),
        ("MULTIPLY A BY B", "arithmetic", {"DIVIDE A INTO B"}),
        ("MULTIPLY A BY B GIVING C", "arithmetic", {"DIVIDE A BY B GIVING C"}),
        ("DIVIDE A INTO B", "arithmetic", {"MULTIPLY A BY B"}),
        ("DIVIDE A BY B GIVING C", "arithmetic", {"MULTIPLY A BY B GIVING C"}),
        ("DIVIDE A BY B GIVING C REMAINDER D", "arithmetic", set()),
        ("COMPUTE A = B + C * D", "arithmetic", {"COMPUTE A = B - C * D", "COMPUTE A = B + C / D"}),
        ("COMPUTE A = B ** C - D", "arithmetic", {"COMPUTE A = B * C - D", "COMPUTE A = B ** C + D"}),
        ("COMPUTE A = (B) / T(I + J)", "arithmetic", {"COMPUTE A = (B) * T(I + J)", "COMPUTE A = (B) / T(I - J)"}),
        ("MOVE -5 TO A-B", "arithmetic", set()),
        ("MOVE 5 TO A", "number", {"MOVE 6 TO A", "MOVE 4 TO A"}),
        ("MOVE 0 TO A", "number", {"MOVE 1 TO A", "MOVE -1 TO A"}),
        ("MOVE 1.5 TO A.", "number", {"MOVE 2.5 TO A.", "MOVE 0.5 TO A."}),
        ("MOVE A(2) TO B(I)", "number", {"MOVE A(1) TO B(I)"}),
        ("MOVE A(1) TO B(I)", "number", set()),
        ("MOVE A(I:1) TO B", "number", {"MOVE A(I:2) TO B"}),
        ("PERFORM 3 TIMES", "number", {"PERFORM 4 TIMES", "PERFORM 2 TIMES"}),
        ("PERFORM X VARYING I FROM 1 BY 1 UNTIL I > 9", "number", {
            "PERFORM X VARYING I FROM 2 BY 1 UNTIL I > 9", "PERFORM X VARYING I FROM 0 BY 1 UNTIL I > 9",
            "PERFORM X VARYING I FROM 1 BY 2 UNTIL I > 9",
            "PERFORM X VARYING I FROM 1 BY 1 UNTIL I > 10", "PERFORM X VARYING I FROM 1 BY 1 UNTIL I > 8",
        }),
        ("PERFORM X UNTIL I > N", "bound", {"PERFORM X UNTIL I > N + 1", "PERFORM X UNTIL I > N - 1"}),
        ("PERFORM X UNTIL A = B", "bound", set()),
        ("DISPLAY 100-LINE", "number", set()),
        ("MOVE ZERO TO A", "value", {"MOVE 1 TO A"}),
        ("IF A = ZEROS", "value", {"IF A = 1"}),
        ("IF A IS ZERO", "value", set()),
        ("MOVE HIGH-VALUES TO A", "value", {"MOVE LOW-VALUES TO A"}),
        ('MOVE "AB" TO C', "string", {'MOVE "XB" TO C', "MOVE SPACES TO C"}),
        ("IF A = 'X'", "string", {"IF A = 'Y'", "IF A = SPACES"}),
        ('DISPLAY "it, A + 1"', "string", {'DISPLAY "Xt, A + 1"'}),
        ('MOVE X"41" TO C', "string", set()),
        ('CALL "SUB" USING A', "string", set()),
        ("MOVE A TO B", "delete", {"CONTINUE"}),
        ("move a to b.", "delete", {"continue."}),
        ("MOVE A TO B ADD C TO D", "delete", {"CONTINUE ADD C TO D", "MOVE A TO B CONTINUE"}),
        ("COMPUTE A = B END-COMPUTE", "delete", {"CONTINUE"}),
        ("COMPUTE A = B ON SIZE ERROR MOVE C TO D END-COMPUTE", "delete", {
            "COMPUTE A = B ON SIZE ERROR CONTINUE END-COMPUTE",
        }),
        ("SET END-OF-FILE TO TRUE", "delete", {"CONTINUE"}),
        ("PERFORM X THRU Y", "delete", {"CONTINUE"}),
        ("PERFORM X END-PERFORM", "delete", {"CONTINUE END-PERFORM"}),
        ("PERFORM N TIMES", "delete", set()),
        ("PERFORM UNTIL A = B", "delete", set()),
        ("STOP RUN", None, set()),
        ("EXIT PERFORM", "loop", {"EXIT PERFORM CYCLE"}),
        ("EXIT PERFORM CYCLE", "loop", {"EXIT PERFORM"}),
        ("EVALUATE TRUE", "truth", {"EVALUATE FALSE"}),
        ("COMPUTE A = FUNCTION MAX(B, C)", "call", {"COMPUTE A = FUNCTION MIN(B, C)"}),
        ("MOVE FUNCTION UPPER-CASE(B) TO C", "call", {"MOVE FUNCTION LOWER-CASE(B) TO C"}),
        ("WHEN A > B MOVE C TO D", "compare", {
            "WHEN A >= B MOVE C TO D", "WHEN A <= B MOVE C TO D", "WHEN A NOT = B MOVE C TO D",
        }),
        ("*> ADD A TO B", None, set()),
        ("EXEC SQL UPDATE A SET B = 1 END-EXEC", None, set()),
    ],
)  # fmt: skip
def test_statements(line: str, operator: str | None, expected: set[str]) -> None:
    assert in_procedure(line, operator) == expected


def test_branches() -> None:
    inner = "EVALUATE D WHEN 2 MOVE E TO F END-EVALUATE"
    lines = f"EVALUATE A\nWHEN 1\nMOVE B TO C\n{inner}\nWHEN 3\nWHEN OTHER\nMOVE G TO H\nEND-EVALUATE."
    assert in_procedure(lines, "branch") == {"CONTINUE", "EVALUATE D WHEN 2 CONTINUE END-EVALUATE"}
    mutants = mutants_of(f"PROCEDURE DIVISION.\n{lines}\n", "cobol")
    first = next(mutant for mutant in mutants if mutant.operator == "branch")
    assert first.source.splitlines()[2:5] == ["WHEN 1", "CONTINUE", "WHEN 3"]
    assert first.before == "MOVE B TO C EVALUATE D WHEN 2 MOVE E TO F END-EVALUATE"


def test_only_procedures_are_changed() -> None:
    source = (
        "WORKING-STORAGE SECTION.\n01 A PIC 9(3) VALUE 5.\nPROCEDURE DIVISION USING A.\nMOVE 1 TO A.\nEND PROGRAM X.\n"
        "IDENTIFICATION DIVISION.\nMOVE 3 TO A.\nDATA DIVISION.\n01 B PIC 9 VALUE 7.\n"
        "PROCEDURE DIVISION.\nMOVE 9 TO B.\n"
    )
    assert {mutant.line for mutant in mutants_of(source, "cobol")} == {4, 11}


def card(text: str, mark: str = " ", margin: str = "") -> str:
    return f"000100{mark}{text}".ljust(72 if margin else 0) + margin


def test_fixed_form() -> None:
    head = [card("DATA DIVISION."), card("PROCEDURE DIVISION.")]

    def changed(*lines: str, operator: str) -> set[str]:
        return changed_lines("\n".join([*head, *lines]) + "\n", "cobol", operator)

    full = "    IF ABC IS LESS THAN DEF AND GHI = JKL AND MNOPQRS = TUVWXYZ"
    assert len(full) < 65
    assert changed(card(full, margin="PRG00010"), operator="compare") >= {
        card(full.replace("LESS THAN", sign), margin="PRG00010")  # in words it would not fit
        for sign in ("<=", ">=", "NOT =")
    }
    short = full.removesuffix(" AND MNOPQRS = TUVWXYZ")
    assert card(short.replace("LESS THAN", "LESS THAN OR EQUAL TO")) in changed(card(short), operator="compare")
    assert (
        changed(card("ADD A TO B", "*"), card("    ADD C TO D", "D"), card("    GOBACK."), operator="delete") == set()
    )
    assert changed(card("    ADD C", margin="ADD A TO"), card("     TO D"), operator="arithmetic") == {
        f"{card('    SUBTRACT C', margin='ADD A TO')}\n{card('     FROM D')}"
    }
    assert changed(card("    ADD C", margin="11111111"), card("     TO D", margin="22222222"), operator="delete") == {
        card("    CONTINUE", margin="22222222")
    }
    split = [card('    DISPLAY "ONE'.ljust(65)), card('    "TWO"', "-"), card("    ADD A TO B")]
    assert changed(*split, operator="arithmetic") == {card("    SUBTRACT A FROM B")}
    assert changed(*split, operator="string") == set()


@pytest.mark.parametrize("path", programs(".cbl"), ids=lambda path: path.name)
def test_cards_keep_their_columns(path: Path) -> None:
    source = path.read_text("utf-8")
    assert not is_free_form(source)
    for mutant in mutants_of(source, "cobol"):
        assert margins_kept(mutant), mutant.name
        assert {line[6:7] for line in mutant.source.splitlines()} <= {" ", "*", ""}


@pytest.mark.parametrize("path", programs(".cob", ".cbl"), ids=lambda path: path.name)
def test_mutants_of_real_programs_compile(path: Path) -> None:
    source = path.read_text("utf-8")
    mutants = sample_mutants(mutants_of(source, "cobol"), 40, 7)
    assert len(mutants) == 40
    assert num_compiled([source, *(mutant.source for mutant in mutants)], path.suffix) >= 41 * 0.97
