"""What a teacher says of documents, kept on disk: captured once, read by every student of it."""

from __future__ import annotations

from spiritsafe.distill.cache.config import CacheManifest, CaptureConfig, Fingerprint, TeacherIdentity
from spiritsafe.distill.cache.fidelity import Candidate, GradientError, cached_candidate, gradient_error
from spiritsafe.distill.cache.reader import CachedTeacher, read_cache_manifest
from spiritsafe.distill.cache.selftest import SelfTestReport, self_test
from spiritsafe.distill.cache.writer import CaptureReport, capture, capture_from, teacher_identity

__all__ = [
    "CacheManifest",
    "CachedTeacher",
    "Candidate",
    "CaptureConfig",
    "CaptureReport",
    "Fingerprint",
    "GradientError",
    "SelfTestReport",
    "TeacherIdentity",
    "cached_candidate",
    "capture",
    "capture_from",
    "gradient_error",
    "read_cache_manifest",
    "self_test",
    "teacher_identity",
]
