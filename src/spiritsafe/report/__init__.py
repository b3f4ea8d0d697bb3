"""Reports: one HTML page, and a table for the terminal.

In: :class:`ReportData`, a record of everything a run has to show. Out: ``build_report``/``write_report`` (one
self-contained page) and ``terminal_summary`` (plain text).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.report.data.exam import (
        CertificateReference,
        ExamPart,
        ExamScore,
        Outcomes,
        PartScore,
        PublicHalf,
        SeedsTogether,
        VerificationStep,
        VerificationSummary,
    )
    from spiritsafe.report.data.inputs import DataInfo, Inputs, TraceCounts
    from spiritsafe.report.data.learning import (
        Arm,
        ArmKind,
        MadeRow,
        PassPoint,
        Reinforced,
        RewardRun,
        RoundPoint,
        Versus,
    )
    from spiritsafe.report.data.measured import Measured, MeasuredCurve, MeasuredUnit
    from spiritsafe.report.data.models import FileFigures, Role, Rung, Source
    from spiritsafe.report.data.run import (
        AccuracyPoint,
        LossPoint,
        MemoryUse,
        ReportData,
        RunInfo,
        Stage,
        TrainingCurve,
        Transcript,
    )
    from spiritsafe.report.numbers import (
        count_text,
        memory_text,
        nats_range,
        nats_value,
        score_text,
        share_text,
        speed_text,
    )
    from spiritsafe.report.page import build_report, write_report
    from spiritsafe.report.sections.compute_curve import (
        CURVE_SUFFIXES,
        build_compute_page,
        build_compute_svg,
        compute_section,
        write_compute,
    )
    from spiritsafe.report.terminal import terminal_summary
    from spiritsafe.report.text.compute_curve import compute_table
    from spiritsafe.report.trust_page import build_trust_page, write_trust_page
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "CURVE_SUFFIXES", "AccuracyPoint", "Arm", "ArmKind", "CertificateReference", "DataInfo", "ExamPart", "ExamScore",
    "FileFigures", "Inputs", "LossPoint", "MadeRow", "Measured", "MeasuredCurve", "MeasuredUnit", "MemoryUse",
    "Outcomes", "PartScore", "PassPoint", "PublicHalf", "Reinforced", "ReportData", "RewardRun", "Role", "RoundPoint",
    "RunInfo", "Rung", "SeedsTogether", "Source", "Stage", "TraceCounts", "TrainingCurve", "Transcript",
    "VerificationStep", "VerificationSummary", "Versus", "build_compute_page", "build_compute_svg", "build_report",
    "build_trust_page", "compute_section", "compute_table", "count_text", "memory_text", "nats_range", "nats_value",
    "score_text", "share_text", "speed_text", "terminal_summary", "write_compute", "write_report", "write_trust_page",
]  # fmt: skip
