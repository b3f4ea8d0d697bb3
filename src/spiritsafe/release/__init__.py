"""Releases: files, exams and duties become one signed directory, which a stranger verifies offline.

:func:`duties_of` a lineage says what licences ask for.
:class:`ReleasePlan` says what goes in, :func:`write_release` writes and signs the directory, :func:`verify_release`
checks it with the light install. Needs neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.release.assemble import ReleasePlan, copy_release, write_release
    from spiritsafe.release.contents import (
        RELEASE_FILES,
        FileCertificate,
        FileDivergence,
        Release,
        ReleasedExam,
        ReleasedFile,
        ReleaseDuty,
        is_release_path,
    )
    from spiritsafe.release.duties.collect import duties_of
    from spiritsafe.release.duties.names import check_duties, check_name, suggested_name
    from spiritsafe.release.duties.records import (
        DUTY_KINDS,
        Cause,
        Duties,
        Duty,
        DutyConflict,
        DutyKind,
        Licence,
        LicenceDuty,
    )
    from spiritsafe.release.duties.table import licence_of_endpoint, licences, licences_of
    from spiritsafe.release.duties.words import (
        NOT_LEGAL_ADVICE,
        banner_texts,
        conflict_words,
        duties_summary,
        duty_words,
        notice_text,
    )
    from spiritsafe.release.published import licence_paths, licence_texts, whole_licence
    from spiritsafe.release.push import PushPlan, plan_push, push_release
    from spiritsafe.release.recorded_duties import record_duties
    from spiritsafe.release.signing import SigningKey, VerifyingKey
    from spiritsafe.release.texts.modelfile import RecognisedChat, recognise_chat
    from spiritsafe.release.verification.verify import RELEASE_STEPS, require_release, verify_release
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "DUTY_KINDS", "NOT_LEGAL_ADVICE", "RELEASE_FILES", "RELEASE_STEPS", "Cause", "Duties", "Duty", "DutyConflict",
    "DutyKind", "FileCertificate", "FileDivergence", "Licence", "LicenceDuty", "PushPlan", "RecognisedChat", "Release",
    "ReleaseDuty", "ReleasePlan", "ReleasedExam", "ReleasedFile", "SigningKey", "VerifyingKey", "banner_texts",
    "check_duties", "check_name", "conflict_words", "copy_release", "duties_of", "duties_summary", "duty_words",
    "is_release_path", "licence_of_endpoint", "licence_paths", "licence_texts", "licences", "licences_of",
    "notice_text", "plan_push", "push_release", "recognise_chat", "record_duties", "require_release", "suggested_name",
    "verify_release", "whole_licence", "write_release",
]  # fmt: skip
