from __future__ import annotations

from pathlib import Path

from called import call

from spiritsafe.cli.recipe import report


def test_report_rebuilds_the_page(tiny_run: Path) -> None:
    assert "report.html" in call(report.command, str(tiny_run))
