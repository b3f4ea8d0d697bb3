"""What a teacher says of documents, kept on disk: captured once, read by every student of it."""

from __future__ import annotations

from spiritsafe.distil.cache.config import CacheManifest, CaptureConfig, Fingerprint, TeacherIdentity
from spiritsafe.distil.cache.fidelity import CacheCandidate, GradientError, cached_candidate, gradient_error
from spiritsafe.distil.cache.reader import CachedTeacher, read_cache_manifest
from spiritsafe.distil.cache.selftest import SelfTestReport, self_test
from spiritsafe.distil.cache.writer import CaptureReport, capture, capture_from, teacher_identity

__all__ = [
    "CacheCandidate", "CacheManifest", "CachedTeacher", "CaptureConfig", "CaptureReport", "Fingerprint",
    "GradientError", "SelfTestReport", "TeacherIdentity", "cached_candidate", "capture", "capture_from",
    "gradient_error", "read_cache_manifest", "self_test", "teacher_identity",
]  # fmt: skip
