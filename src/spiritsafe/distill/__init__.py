"""Distilling: losses against a teacher's signal, exact over the whole vocabulary where the teacher is there.

In: a teacher's signal (live or kept) and a student in training. Out: gradients. :class:`TracesObjective` (no teacher
needed) is the training room's, named here because it is the first rung of every ladder. Across tokenizers:
:mod:`spiritsafe.distill.across`. The teacher's signal on disk: :mod:`spiritsafe.distill.cache`.
"""

from spiritsafe.distill.audit import AuditExample, AuditReport, audit_documents
from spiritsafe.distill.cache import CachedTeacher, CaptureConfig, capture, self_test
from spiritsafe.distill.hidden import HiddenMatch
from spiritsafe.distill.hidden_file import load_hidden_match, save_hidden_match
from spiritsafe.distill.hidden_setup import make_hidden_match
from spiritsafe.distill.lora_head import LoraHead
from spiritsafe.distill.loss_head import DistilResult, LossMix, distil_head
from spiritsafe.distill.objectives import DistilObjective
from spiritsafe.distill.onpolicy import OnPolicyFeed
from spiritsafe.distill.onpolicy_config import OnPolicyConfig, VerdictWeights
from spiritsafe.distill.race import RaceResult, race
from spiritsafe.distill.sampled_head import sampled_head
from spiritsafe.distill.served import capture_served
from spiritsafe.distill.signal import LiveTeacher, SampledRows, Signal, SignalPart, TeacherRows, TeacherSignal
from spiritsafe.distill.teacher_fit import TeacherFit, teacher_fit
from spiritsafe.distill.teachers import TeachersByDocument
from spiritsafe.training.objective import TracesObjective

__all__ = [
    "AuditExample",
    "AuditReport",
    "CachedTeacher",
    "CaptureConfig",
    "DistilObjective",
    "DistilResult",
    "HiddenMatch",
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
    "TracesObjective",
    "VerdictWeights",
    "audit_documents",
    "capture",
    "capture_served",
    "distil_head",
    "load_hidden_match",
    "make_hidden_match",
    "race",
    "sampled_head",
    "save_hidden_match",
    "self_test",
    "teacher_fit",
]
