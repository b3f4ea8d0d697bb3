"""The figures that README shows are those of the tables with all results."""

from __future__ import annotations

import json
import re

import pytest
from places import ROOT

from spiritsafe.report import ReportData, terminal_summary

NUMBER = re.compile(r"[+−]?\d+(?:\.\d+)?")
README = (ROOT / "README.md").read_text("utf-8")
TABLES = [ROOT / "experiments" / "README.md", ROOT / "bench" / "README.md"]


def rows() -> list[list[str]]:
    part = README.split("\n## Five figures\n")[1].split("\n## ")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("| ")
    ]


def test_each_figure_stands_in_a_row_about_the_same_file() -> None:
    found = rows()[1:]
    assert len(found) == 5
    lines = [line for table in TABLES for line in table.read_text("utf-8").splitlines()]
    for _, figure, source in found:
        target = re.search(r"\]\((\S+?)\)", source)
        assert target is not None
        assert (ROOT / target[1]).exists()
        same = " ".join(line for line in lines if target[1].removesuffix("/README.md") in line)
        assert set(NUMBER.findall(figure)) <= set(NUMBER.findall(same)), figure


def test_every_row_of_the_tables_says_where_it_was_measured() -> None:
    for table in TABLES:
        text = table.read_text("utf-8").split("| what | figure | stands on |\n|---|---|---|\n")[1].split("\n\n")[0]
        for line in text.splitlines():
            for target in re.findall(r"\]\(([^)]+)\)", line):
                assert (table.parent / target).exists(), line
            assert "](" in line or "the same" in line.rsplit("|", 2)[1], line


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_what_you_will_see_is_what_a_published_run_said(page: str) -> None:
    """The table that a page shows is the head of the one that the report it names gives today."""
    text = (ROOT / page).read_text("utf-8")
    shown = re.search(r"^student gained .*?(?=\n+```)", text, flags=re.M | re.S)
    assert shown is not None
    assert "experiments/quickstart-files" in text
    report = ReportData.from_json(json.loads((ROOT / "experiments/quickstart-files/report.json").read_text("utf-8")))
    assert terminal_summary(report).replace("\u00a0", " ").startswith(shown[0])
