"""Tools for code that somebody has: tests that are known to notice faults, explanations that are known to suffice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.assist.code_report import CodeReport, FileTrouble, ReportOrigin
    from spiritsafe.assist.explaining.explain import explain_code
    from spiritsafe.assist.explaining.report import ExplanationsReport, explanations_page
    from spiritsafe.assist.opening import UnusableFile
    from spiritsafe.assist.python.environment import PythonEnvironment, environment_of
    from spiritsafe.assist.subject import Subject
    from spiritsafe.assist.subjects import subjects_at
    from spiritsafe.assist.writing.report import TestsReport, Written
    from spiritsafe.assist.writing.write import write_tests
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "CodeReport", "ExplanationsReport", "FileTrouble", "PythonEnvironment", "ReportOrigin", "Subject", "TestsReport",
    "UnusableFile", "Written", "environment_of", "explain_code", "explanations_page", "subjects_at", "write_tests",
]  # fmt: skip
