"""Duties as a release records them: plain data that a stranger's version, with another table of licences, reads alike.

In: what :func:`spiritsafe.release.duties_of` found, the release's name, where copies of licences lie in it. Out: the
records for :class:`~spiritsafe.release.Release`.
"""

from __future__ import annotations

from collections.abc import Mapping

from spiritsafe.release.contents import Release, ReleaseDuty
from spiritsafe.release.duties.collect import duties_of
from spiritsafe.release.duties.records import Duties, DutyKind
from spiritsafe.release.duties.table import licences
from spiritsafe.release.duties.words import duty_words

_UNTOLD: tuple[DutyKind, ...] = ("termination",)
_MOST_ORIGINS = 300
"""Models of a lineage that are gone through; no run has so many, and the work grows with their cube."""


def record_duties(duties: Duties, name: str, copies: Mapping[str, str]) -> tuple[ReleaseDuty, ...]:
    """The duties of a release, the weightiest first.

    Args:
        name: Of the release; stands in banners.
        copies: Path in the release of each licence's text, by the licence's id. Without one a duty to hand it on is
            recorded as not met, and no release with it verifies.
    """
    read = {licence.id: licence.read.isoformat() for licence in licences().values()}
    return tuple(
        ReleaseDuty(
            kind=duty.kind,
            text=duty.text.replace("{model}", name),
            source=", ".join(part for part in (duty.licence_name, duty.clause, duty.at) if part),
            date=read.get(duty.licence, "not known"),
            models=tuple(cause.model for cause in duty.causes),
            path=copies.get(duty.licence) if duty.kind == "copy" else None,
        )
        for duty in duties.duties
    )


def unrecorded_duties(release: Release) -> tuple[str, ...]:
    """What a release's lineage asks for by the licences that are known here and its record does not say, in words.

    Another version with another table finds other duties in the same lineage, so this is told, and no fault.
    """
    if len(release.lineage) + sum(len(one.parents) for one in release.lineage) > _MOST_ORIGINS:
        return ("its lineage is too long to be gone through",)
    recorded = {(duty.kind, duty.text) for duty in release.duties}
    found: dict[str, None] = {}
    for file in release.files:
        ordered = sorted(release.lineage, key=lambda one: one.digest != file.digest)  # the model first
        for duty in duties_of(ordered).duties:
            said = (duty.kind, duty.text.replace("{model}", release.name))
            if duty.kind not in _UNTOLD and said not in recorded:
                found[duty_words(duty)] = None
    return tuple(found)
