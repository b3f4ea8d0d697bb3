"""Duties as a release records them: plain data that a stranger's version, with another table of licences, reads alike.

In: what :func:`spiritsafe.release.duties_of` found, the release's name, where copies of licences lie in it. Out: the
records for :class:`~spiritsafe.release.Release`.
"""

from __future__ import annotations

from collections.abc import Mapping

from spiritsafe.release.contents import ReleaseDuty
from spiritsafe.release.duties.records import Duties
from spiritsafe.release.duties.table import licences


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
