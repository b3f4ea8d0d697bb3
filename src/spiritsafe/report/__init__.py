"""Reports: one HTML page, and a table for the terminal.

In: :class:`ReportData`, a record of everything a run has to show. Out: ``build_report``/``write_report`` (one
self-contained page) and ``terminal_summary`` (plain text).
"""

from __future__ import annotations

from spiritsafe.report.data import (
    AccuracyPoint,
    Inputs,
    LossPoint,
    MemoryUse,
    ReportData,
    RunInfo,
    Source,
    Stage,
    TaskInfo,
    TraceCounts,
    TrainingCurve,
    Transcript,
)
from spiritsafe.report.evidence import (
    CertificateReference,
    ExamInfo,
    Outcomes,
    PublicHalf,
    Role,
    Rung,
    Verification,
    VerificationStep,
)
from spiritsafe.report.page import build_report, write_report
from spiritsafe.report.terminal import terminal_summary

__all__ = [
    "AccuracyPoint",
    "CertificateReference",
    "ExamInfo",
    "Inputs",
    "LossPoint",
    "MemoryUse",
    "Outcomes",
    "PublicHalf",
    "ReportData",
    "Role",
    "RunInfo",
    "Rung",
    "Source",
    "Stage",
    "TaskInfo",
    "TraceCounts",
    "TrainingCurve",
    "Transcript",
    "Verification",
    "VerificationStep",
    "build_report",
    "terminal_summary",
    "write_report",
]
