"""Distilling: losses against a teacher's signal, exact over the whole vocabulary where the teacher is there.

In: a teacher's signal (live or kept) and a student in training. Out: gradients. :class:`TracesObjective` (no teacher
needed) is the training room's, named here because it is the first rung of every ladder. Across tokenizers:
:mod:`spiritsafe.distil.cross_tokenizer`. The teacher's signal on disk: :mod:`spiritsafe.distil.cache`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.distil.audit import AuditExample, DocumentAudit, audit_documents
    from spiritsafe.distil.cache import CachedTeacher, CaptureConfig, CaptureReport, capture, self_test
    from spiritsafe.distil.cache.served import capture_served, served_identity
    from spiritsafe.distil.cross_tokenizer import (
        AcrossMix,
        AcrossTokenizersObjective,
        LiveChunkTeacher,
        TokenBytes,
        map_vocabularies,
        measure_coverage,
        pair_conversations,
    )
    from spiritsafe.distil.evaluation.estimates import (
        HELD_OUT_STATEMENT,
        HeldOut,
        HeldOutDifference,
        HeldOutEstimates,
        held_out_difference,
        held_out_estimates,
    )
    from spiritsafe.distil.evaluation.held_out import held_out, supervised_bytes
    from spiritsafe.distil.evaluation.teacher_check import TeacherFit, teacher_fit
    from spiritsafe.distil.hidden.file import load_hidden_match, save_hidden_match
    from spiritsafe.distil.hidden.match import HiddenMatch
    from spiritsafe.distil.hidden.setup import make_hidden_match
    from spiritsafe.distil.losses.divergences import DIVERGENCES, LossMix
    from spiritsafe.distil.losses.exact_head import DistilResult, distil_head
    from spiritsafe.distil.losses.sampled_head import sampled_head
    from spiritsafe.distil.objective import DistilObjective
    from spiritsafe.distil.on_policy.config import OnPolicyConfig, VerdictWeights
    from spiritsafe.distil.on_policy.feed import OnPolicyFeed
    from spiritsafe.distil.served_answers import CapturedAnswers, capture_answers
    from spiritsafe.distil.shape_race import RaceResult, race
    from spiritsafe.distil.signal import (
        LiveTeacher,
        SampledRows,
        Signal,
        SignalPart,
        TeacherRows,
        TeacherSignal,
        document_key,
    )
    from spiritsafe.distil.teachers_by_document import TeachersByDocument
    from spiritsafe.training.data.rounds import ROUNDS_FILE
    from spiritsafe.training.objective import TracesObjective
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "DIVERGENCES", "HELD_OUT_STATEMENT", "ROUNDS_FILE", "AcrossMix", "AcrossTokenizersObjective", "AuditExample",
    "CachedTeacher", "CaptureConfig", "CaptureReport", "CapturedAnswers", "DistilObjective", "DistilResult",
    "DocumentAudit", "HeldOut", "HeldOutDifference", "HeldOutEstimates", "HiddenMatch", "LiveChunkTeacher",
    "LiveTeacher", "LossMix", "OnPolicyConfig", "OnPolicyFeed", "RaceResult", "SampledRows", "Signal", "SignalPart",
    "TeacherFit", "TeacherRows", "TeacherSignal", "TeachersByDocument", "TokenBytes", "TracesObjective",
    "VerdictWeights", "audit_documents", "capture", "capture_answers", "capture_served", "distil_head", "document_key",
    "held_out", "held_out_difference", "held_out_estimates", "load_hidden_match", "make_hidden_match",
    "map_vocabularies", "measure_coverage", "pair_conversations", "race", "sampled_head", "save_hidden_match",
    "self_test", "served_identity", "supervised_bytes", "teacher_fit",
]  # fmt: skip
