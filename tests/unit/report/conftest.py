"""The example run, made once."""

from __future__ import annotations

import pytest
from report_parts import example_data

from spiritsafe.report import ReportData


@pytest.fixture(scope="session")
def data() -> ReportData:
    return example_data()
