"""The example runs, made once."""

from __future__ import annotations

import pytest
from report_parts import example_data, example_with_steps

from spiritsafe.report import ReportData, build_report


@pytest.fixture(scope="session")
def data() -> ReportData:
    return example_data()


@pytest.fixture(scope="session")
def steps(data: ReportData) -> ReportData:
    """The same with steps and what learning by reward did."""
    return example_with_steps()


@pytest.fixture(scope="session")
def page(data: ReportData) -> str:
    return build_report(data)
