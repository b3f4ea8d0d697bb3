"""Distilling: losses against a teacher's signal, exact over the whole vocabulary where the teacher is there.

In: a teacher's signal (live or kept) and a student in training. Out: gradients. :class:`TracesObjective` (no teacher
needed) is the training room's, named here because it is the first rung of every ladder. Across tokenizers:
:mod:`spiritsafe.distill.cross_tokenizer`. The teacher's signal on disk: :mod:`spiritsafe.distill.cache`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.distill.audit import AuditExample, AuditReport, audit_documents
    from spiritsafe.distill.cache import CachedTeacher, CaptureConfig, capture, self_test
    from spiritsafe.distill.cache.served import capture_served
    from spiritsafe.distill.cross_tokenizer import (
        AcrossMix,
        AcrossTokenizersObjective,
        LiveChunkTeacher,
        TokenBytes,
        map_vocabularies,
        measure_coverage,
        pair_conversations,
    )
    from spiritsafe.distill.hidden.file import load_hidden_match, save_hidden_match
    from spiritsafe.distill.hidden.match import HiddenMatch
    from spiritsafe.distill.hidden.setup import make_hidden_match
    from spiritsafe.distill.losses.divergences import LossMix
    from spiritsafe.distill.losses.exact_head import DistilResult, distil_head
    from spiritsafe.distill.losses.lora_head import LoraHead
    from spiritsafe.distill.losses.sampled_head import sampled_head
    from spiritsafe.distill.objective import DistilObjective
    from spiritsafe.distill.on_policy.config import OnPolicyConfig, VerdictWeights
    from spiritsafe.distill.on_policy.feed import OnPolicyFeed
    from spiritsafe.distill.on_policy.rounds import ROUNDS_FILE
    from spiritsafe.distill.shape_race import RaceResult, race
    from spiritsafe.distill.signal import (
        LiveTeacher,
        SampledRows,
        Signal,
        SignalPart,
        TeacherRows,
        TeacherSignal,
        document_key,
    )
    from spiritsafe.distill.teacher_check import TeacherFit, teacher_fit
    from spiritsafe.distill.teachers_by_document import TeachersByDocument
    from spiritsafe.training.objective import TracesObjective
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "ROUNDS_FILE",
    "AcrossMix",
    "AcrossTokenizersObjective",
    "AuditExample",
    "AuditReport",
    "CachedTeacher",
    "CaptureConfig",
    "DistilObjective",
    "DistilResult",
    "HiddenMatch",
    "LiveChunkTeacher",
    "LiveTeacher",
    "LoraHead",
    "LossMix",
    "OnPolicyConfig",
    "OnPolicyFeed",
    "RaceResult",
    "SampledRows",
    "Signal",
    "SignalPart",
    "TeacherFit",
    "TeacherRows",
    "TeacherSignal",
    "TeachersByDocument",
    "TokenBytes",
    "TracesObjective",
    "VerdictWeights",
    "audit_documents",
    "capture",
    "capture_served",
    "distil_head",
    "document_key",
    "load_hidden_match",
    "make_hidden_match",
    "map_vocabularies",
    "measure_coverage",
    "pair_conversations",
    "race",
    "sampled_head",
    "save_hidden_match",
    "self_test",
    "teacher_fit",
]
