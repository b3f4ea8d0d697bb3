from __future__ import annotations

from pathlib import Path

from called import call, records_of

from spiritsafe.cli.recipe import report
from spiritsafe.pipeline import report_data
from spiritsafe.report import ReportData


def test_report_rebuilds_the_page(tiny_run: Path) -> None:
    assert "report.html" in call(report.command, str(tiny_run))


def test_what_it_says_is_to_be_had_as_json(tiny_run: Path) -> None:
    (told,) = records_of(report.command, str(tiny_run))
    assert ReportData.from_json(told) == report_data(tiny_run)
