from __future__ import annotations

import pytest

from spiritsafe.assist.code_report import CodeReport, ReportOrigin
from spiritsafe.assist.explaining.report import ExplanationsReport
from spiritsafe.assist.writing.report import TestsReport
from spiritsafe.core.errors import IntegrityError


def test_both_reports_say_what_they_were_made_from() -> None:
    assert {"origin", "trouble", "cost", "path"} <= CodeReport.model_fields.keys()
    assert issubclass(TestsReport, CodeReport)
    assert issubclass(ExplanationsReport, CodeReport)


@pytest.mark.parametrize("name", ["..", ".", "/etc/passwd", "../a", "a/b", "a\\b", "a\0"])
def test_a_file_is_in_its_folder_and_nowhere_else(name: str) -> None:
    with pytest.raises(IntegrityError, match=r"Not a valid ReportOrigin: file"):
        ReportOrigin.from_json({"key": "k", "inputs": {}, "file": name})


def test_a_report_outlives_its_file() -> None:
    origin = ReportOrigin(
        key="../a.py", inputs={"seed": 1, "temperature": 0.5}, file="test_a.py", digest="d", before="b"
    )
    assert ReportOrigin.from_json(origin.to_json()) == origin
