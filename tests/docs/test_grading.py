"""The tables of ``docs/grading.md`` are what the graders do."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from places import ROOT

from spiritsafe.core.records import Problem
from spiritsafe.tasks.families.choice import LetterVerifier
from spiritsafe.tasks.families.math.task import MathVerifier, ValueVerifier

PAGE = (ROOT / "docs" / "grading.md").read_text("utf-8")
CHOICES = ["Paris", "London", "Rome", "Bern"]
STATUS = {"right": "correct", "wrong": "wrong", "unparsed": "unparsed"}


def _plain(cell: str) -> str:
    cell = re.sub(
        r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), cell.strip().strip("`").replace("\\|", "|")
    )
    return cell.replace("}\\n\\", "}\n\\")


def rows() -> Iterator[tuple[str, str, str, str, str]]:
    """``(section, form, gold, answer, verdict)``."""
    section = ""
    for line in PAGE.splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        cells = re.split(r"(?<!\\)\|", line)[1:-1]
        if len(cells) == 4 and cells[3].strip() in STATUS:
            form, gold, answer, verdict = cells
            yield section, form.strip(), _plain(gold), _plain(answer), verdict.strip()


ROWS = list(rows())


def problem(gold: str) -> Problem:
    return Problem(task="t:t", canonical_text="x", messages=(), facts={"answer": gold, "choices": list(CHOICES)})


def test_every_table_is_read() -> None:
    assert {section for section, *_ in ROWS} == {
        "Numbers",
        "Decimal commas",
        "Formulas",
        "Several answers, and answers taken back",
        "Choices",
    }
    assert len(ROWS) == sum(line.count("|") >= 5 for line in PAGE.splitlines()) - 2 * 5


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0].split()[0]}-{row[2]}-{row[3]}-{row[4]}")
def test_a_row_is_what_the_grader_says(row: tuple[str, str, str, str, str]) -> None:
    section, form, gold, answer, verdict = row
    if section == "Choices":
        verifier: LetterVerifier | MathVerifier = LetterVerifier()
    else:
        verifier = MathVerifier(decimal="comma" if section == "Decimal commas" and form == "comma" else "point")
    assert verifier.judge(problem(gold), answer).status == STATUS[verdict]


@pytest.mark.parametrize("row", [r for r in ROWS if r[0] in ("Numbers", "Several answers, and answers taken back")])
def test_the_family_number_says_the_same(row: tuple[str, str, str, str, str]) -> None:
    _, _, gold, answer, verdict = row
    assert ValueVerifier().judge(problem(gold), answer).status == STATUS[verdict]


@pytest.mark.parametrize("verifier", [MathVerifier(), MathVerifier(decimal="comma"), ValueVerifier(), LetterVerifier()])
def test_the_page_names_the_versions(verifier: MathVerifier | ValueVerifier | LetterVerifier) -> None:
    assert f"`{verifier.name}/{verifier.version}`" in PAGE
