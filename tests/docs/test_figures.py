"""The figures that README shows are those of the tables with all results."""

from __future__ import annotations

import re

from places import ROOT

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
