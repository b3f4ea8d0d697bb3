from __future__ import annotations

from pathlib import Path

from compiled_parts import RATES, TAX, TAX_TESTS, write_tax
from compilers import COBOL, compiler

from spiritsafe.assist.languages.cobol import open_subjects
from spiritsafe.assist.routines.languages.cobol import replacement_in, routines_in


def test_a_heading_has_what_a_caller_must_know() -> None:
    (tax,) = routines_in(TAX)
    assert tax.name == "TAX"
    assert TAX[tax.start : tax.end] == TAX.strip()
    assert tax.heading.splitlines()[3:6] == [
        "       LINKAGE SECTION.", "       COPY ORDER-BOOK.", "       01 LK-TAX PIC 9(5)V99.",
    ]  # fmt: skip
    assert "PROCEDURE DIVISION USING LK-ORDER LK-TAX.\n" in tax.heading
    assert "WS-RATE" not in tax.heading
    assert "MULTIPLY" not in tax.heading
    assert [one.name for one in routines_in(RATES)] == ["RATES"]
    assert routines_in(TAX_TESTS) == routines_in("") == []


def test_it_can_be_taken_away_and_written_anew_in_the_other_form(tmp_path: Path) -> None:
    compiler(COBOL)
    path = write_tax(tmp_path)
    (subject,) = open_subjects(path, most_mutants=1, seed=0)
    (tax,) = routines_in(TAX)
    new = """IDENTIFICATION DIVISION.
PROGRAM-ID. tax.
DATA DIVISION.
LINKAGE SECTION.
COPY ORDER-BOOK.
01 LK-TAX PIC 9(5)V99.
PROCEDURE DIVISION USING LK-ORDER LK-TAX.
EVALUATE LK-KIND WHEN "B" COMPUTE LK-TAX = LK-NET * 0.07 WHEN OTHER COMPUTE LK-TAX = LK-NET / {} END-EVALUATE
GOBACK.
END PROGRAM tax.
"""
    more = TAX + RATES.partition("\n")[2].replace("RATES", "MORE").replace("\n", "\n       ")
    texts = [replacement_in(more, new.format(divisor), "TAX") for divisor in (5, 4)]
    assert None not in texts
    programs = [tax.exchanged(more, text) for text in (tax.gone, *map(str, texts))]
    assert subject.judge(TAX_TESTS, programs).killed_by == {0: ("TEST-BOOK", "TEST-OTHER"), 2: ("TEST-OTHER",)}
    assert replacement_in(TAX, RATES, "TAX") is None
