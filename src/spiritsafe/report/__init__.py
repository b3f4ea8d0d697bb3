"""Reports: one HTML page, and a table for the terminal.

In: :class:`ReportData`, a record of everything a run has to show. Out: ``build_report``/``write_report`` (one
self-contained page) and ``terminal_summary`` (plain text).
"""

from __future__ import annotations

from spiritsafe.report.compute import (
    CURVE_SUFFIXES,
    build_compute_page,
    build_compute_svg,
    compute_section,
    write_compute,
)
from spiritsafe.report.compute_words import compute_table
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
from spiritsafe.report.learning import Arm, ArmKind, MadeRow, PassPoint, Reinforced, RewardRun, RoundPoint, Versus
from spiritsafe.report.page import build_report, write_report
from spiritsafe.report.terminal import terminal_summary
from spiritsafe.report.trust_page import build_trust_page, write_trust_page

__all__ = [
    "CURVE_SUFFIXES",
    "AccuracyPoint",
    "Arm",
    "ArmKind",
    "CertificateReference",
    "ExamInfo",
    "Inputs",
    "LossPoint",
    "MadeRow",
    "MemoryUse",
    "Outcomes",
    "PassPoint",
    "PublicHalf",
    "Reinforced",
    "ReportData",
    "RewardRun",
    "Role",
    "RoundPoint",
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
    "Versus",
    "build_compute_page",
    "build_compute_svg",
    "build_report",
    "build_trust_page",
    "compute_section",
    "compute_table",
    "terminal_summary",
    "write_compute",
    "write_report",
    "write_trust_page",
]
