"""The example runs, made once."""

from __future__ import annotations

import pytest
from compute_parts import example_curve
from report_parts import example_data, example_two_exams, example_with_steps, example_without_exam

from spiritsafe.report import ReportData, build_report


@pytest.fixture(scope="session")
def data() -> ReportData:
    return example_data()


@pytest.fixture(scope="session")
def steps(data: ReportData) -> ReportData:
    """The same with steps and what learning by reward did."""
    return example_with_steps()


@pytest.fixture(scope="session")
def two_exams() -> ReportData:
    return example_two_exams()


@pytest.fixture(scope="session")
def no_exam() -> ReportData:
    """With a served teacher, and with what measure steps found."""
    return example_without_exam(example_curve())


@pytest.fixture(scope="session")
def page(data: ReportData) -> str:
    return build_report(data)
