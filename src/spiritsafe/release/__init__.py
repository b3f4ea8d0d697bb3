"""Releases: what leaves a run so that others can use it, and what its licences ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
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
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "DUTY_KINDS", "NOT_LEGAL_ADVICE",
    "Cause", "Duties", "Duty", "DutyConflict", "DutyKind", "Licence", "LicenceDuty",
    "banner_texts", "check_duties", "check_name", "conflict_words", "duties_of", "duties_summary", "duty_words",
    "licence_of_endpoint", "licences", "licences_of", "notice_text", "suggested_name",
]  # fmt: skip
