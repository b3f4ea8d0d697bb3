from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from spiritsafe.assist.asker import AskingCost
from spiritsafe.assist.code_report import FileTrouble
from spiritsafe.assist.writing.report import AskedRound, DroppedTest, TestsReport
from spiritsafe.cli.answers.code.tests_table import report_table, show_tests

COST = AskingCost(questions=6, tokens_in=123_000, tokens_out=4_567)


def report(path: str, **more: Any) -> TestsReport:
    values = {"mutants": 300, "killed": 287, "cost": COST, "seconds": 1234.5, "coverage": 1.0, **more}
    return TestsReport(path=path, language="python", source_digest="", model="m", model_digest="d", **values)


def test_names_can_be_read_in_80_columns() -> None:
    paths = [f"/home/someone/projects/warehouse/src/warehouse/{name}.py" for name in ("prices", "deliveries_by_sea")]
    heading, *lines = report_table([report(path) for path in paths], 80)
    assert [line.split()[0] for line in lines] == ["…se/src/warehouse/prices.py", "…house/deliveries_by_sea.py"]
    assert heading.split() == ["file", "killed", "kept", "dropped", "lines", "asked", "tokens", "s"]
    for line in (heading, *lines):
        assert len(line) <= 80
    assert lines[0].split()[1:] == ["287/300", "0", "0", "100%", "6", "127,567", "1234"]


def test_columns_stand_under_their_headings() -> None:
    reports = [report("a.py"), report("wide/鐵路時刻表/價格.py", coverage=None), report("b.py", killed=1)]
    for width in (None, 30, 80, 200):
        lines = report_table(reports, width)
        assert len({cell_len(line) for line in lines}) == 1


@pytest.mark.parametrize("width", [None, 500])
def test_where_there_is_room_paths_are_whole(width: int | None) -> None:
    path = "/" + "x" * 200 + "/a.py"
    assert report_table([report(path)], width)[1].startswith(f"{path}  287/300")


def test_a_path_below_the_folder_where_one_is_begins_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (_, line) = report_table([report(os.path.join(os.getcwd(), "src", "a.py"))], None)
    assert line.startswith("src/a.py ")


def test_what_else_is_to_be_said_stands_below(capsys: pytest.CaptureFixture[str]) -> None:
    dropped = DroppedTest(name="test_a", question=1, reason="it fails")
    told = AskedRound(outcome="no code", told="it has no code", cost=COST)
    reports = [
        report("\u202ea.py", trouble=FileTrouble(reason="\u202ea.py is broken.", hint="Mend it.")),
        report("b.py", invalid=(dropped,), redundant=(dropped,)),
        report("c.py", rounds=(told,)),
        report("d.py"),
    ]
    show_tests(reports, reports[3:])
    text = capsys.readouterr().out
    assert text.splitlines()[1].split() == ["⟨U+202E⟩a.py", *["-"] * 7]
    assert text.splitlines()[2].split()[:4] == ["b.py", "287/300", "0", "2"]
    assert text.splitlines()[5:] == [
        "not tested: ⟨U+202E⟩a.py is broken. Mend it.",
        "b.py: no test is kept: it fails",
        "c.py: no test is kept: it has no code",
        "as before, so that nothing was asked: d.py",
    ]
