"""Duties of a model, collected over its ancestry: all that every licence asks, and where these are at odds.

In: lineage. Out: :class:`~spiritsafe.release.duties.records.Duties`. Nothing here is legal advice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import get_args

from spiritsafe.core.records import Checkpoint, ModelUse
from spiritsafe.release.duties.ancestry import Ancestor, Ancestry
from spiritsafe.release.duties.records import (
    Cause,
    ConflictKind,
    Duties,
    Duty,
    DutyConflict,
    DutyKind,
    Licence,
    LicenceDuty,
)
from spiritsafe.release.duties.table import is_stated, licences_of

_USES: tuple[ModelUse, ...] = get_args(ModelUse)
_KINDS: tuple[DutyKind, ...] = get_args(DutyKind)
_NARROWING: tuple[DutyKind, ...] = ("research_only", "non_commercial")

_FURTHER_TERMS: tuple[DutyKind, ...] = ("pass_on", *_NARROWING)
"""What a licence that allows no further terms does not allow beside it."""

_LIFTED: tuple[DutyKind, ...] = ("blocked", "unknown", "share_alike", *_NARROWING)
"""What a permission of the licensor takes away; names, notices and policies stay until it says otherwise."""


def duties_of(lineage: Iterable[Checkpoint]) -> Duties:
    """Everything that licences ask of a model, by all that it was made from.

    Args:
        lineage: The model first; then its ancestors, in any order and as far as they are known. Of a parent that is not
            among them its child's lineage says name and licence.
    """
    ancestry = Ancestry(lineage)
    found: dict[tuple[object, ...], Duty] = {}
    for ancestor in ancestry.ancestors():
        for duty in _duties_from(ancestor, ancestry):
            key = (duty.kind, duty.licence, duty.text)
            first = found.get(key, duty)
            causes = dict.fromkeys((*first.causes, *duty.causes))
            found[key] = first.model_copy(update={"causes": tuple(causes)})
    duties = sorted(found.values(), key=lambda duty: (_KINDS.index(duty.kind), duty.licence, duty.text))
    return Duties(model=ancestry.model.name, duties=tuple(duties), conflicts=tuple(_conflicts(duties)))


def _duties_from(ancestor: Ancestor, ancestry: Ancestry) -> Iterator[Duty]:
    known, unknown = _licences_of(ancestor)
    everyhow = tuple(use for use in _USES if use in ancestor.learners)
    found = []
    for licence in known:
        for row in licence.duties:
            uses = tuple(use for use in everyhow if use in row.uses and not _is_excepted(row, use, ancestor, ancestry))
            if uses:
                found.append(_duty(row, licence, Cause(model=ancestor.name, uses=uses)))
    cause = Cause(model=ancestor.name, uses=everyhow)
    found += [Duty(kind="unknown", text=said, licence=said, licence_name=said, causes=(cause,)) for said in unknown]
    for duty in found:
        if ancestor.granted is not None and duty.kind in _LIFTED:
            yield duty.model_copy(update={"kind": "granted", "text": ancestor.granted})
        else:
            yield duty


def _licences_of(ancestor: Ancestor) -> tuple[Sequence[Licence], Sequence[str]]:
    known: dict[str, Licence] = {}
    unknown: dict[str, None] = {}
    stated = [said for said in ancestor.statements if is_stated(said)]
    for statement in stated or ancestor.statements:
        licences, strange = licences_of(statement, *ancestor.names)
        known |= {licence.id: licence for licence in licences}
        unknown |= dict.fromkeys(strange)
    return tuple(known.values()), tuple(unknown)


def _is_excepted(row: LicenceDuty, use: ModelUse, ancestor: Ancestor, ancestry: Ancestry) -> bool:
    """Whether all that learnt from a model, down to the one that is made, hold weights under an excepted licence."""
    if not row.except_on:
        return False
    learners = {*ancestor.learners[use], ancestry.model.digest}
    return all(_has_weights_under(row.except_on, learner, ancestry) for learner in learners)


def _has_weights_under(wanted: Sequence[str], digest: str, ancestry: Ancestry) -> bool:
    for one in ancestry.inside(digest):
        names = ancestry.root_names(one)  # none of a made model: it bears a licence, and may hold no weights under it
        found = [licence for said in ancestry.statements(one) for licence in licences_of(said, *names)[0]]
        if names and any(licence.id in wanted for licence in found):
            return True
    return False


def _duty(row: LicenceDuty, licence: Licence, cause: Cause) -> Duty:
    return Duty(
        kind=row.kind,
        text=row.text,
        licence=licence.id,
        licence_name=licence.name,
        clause=row.clause,
        quote=row.quote,
        at=row.at,
        causes=(cause,),
    )


def _conflicts(duties: Sequence[Duty]) -> Iterator[DutyConflict]:
    prefixes = [duty for duty in duties if duty.kind == "name_prefix"]
    for first, second in combinations(prefixes, 2):
        if not (first.text.startswith(second.text) or second.text.startswith(first.text)):
            yield _conflict("name", (first, second), is_fatal=True)
    for whole in (duty for duty in duties if duty.kind == "share_alike"):
        others = [
            duty for duty in duties if duty.licence != whole.licence and duty.kind in ("share_alike", *_FURTHER_TERMS)
        ]
        if others:
            yield _conflict("share_alike", (whole, *others), is_fatal=True)
    narrow = [duty for duty in duties if duty.kind in _NARROWING]
    bound = {duty.licence for duty in narrow}
    free = [duty for duty in duties if duty.licence not in bound and duty.kind != "unknown"]
    if narrow and free:
        yield _conflict("commercial", (*narrow, *{duty.licence: duty for duty in free}.values()), is_fatal=False)


def _conflict(kind: ConflictKind, duties: Sequence[Duty], *, is_fatal: bool) -> DutyConflict:
    return DutyConflict(
        kind=kind,
        licences=tuple(dict.fromkeys(duty.licence_name for duty in duties)),
        texts=tuple(dict.fromkeys(duty.text for duty in duties)),
        is_fatal=is_fatal,
    )
