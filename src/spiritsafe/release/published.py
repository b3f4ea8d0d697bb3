"""Duties of a release and the texts that meet them: the licence, copies of others, NOTICE.

In: what follows for a model, and licence texts that were found. Out: the duties as a release records them, and the
texts by their paths in it. A text that has to go along and is not there is asked for, never left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path

from spiritsafe.core.errors import SourceError
from spiritsafe.release.contents import LICENCE_FILE, NOTICE_FILE, ReleaseDuty
from spiritsafe.release.duties.records import Duties, Duty
from spiritsafe.release.duties.table import licences, licences_of
from spiritsafe.release.duties.words import banner_texts, duty_words, notice_text

_KNOWN_TEXTS = "spiritsafe.release.duties"


def licence_texts(name: str, own: str, duties: Duties, found: Iterable[tuple[str, Path]]) -> dict[str, Path | bytes]:
    """The texts that go along with a release, by their paths in it.

    Args:
        name: Of the release.
        own: The licence that it is under.
        found: Texts that are there, each with what says which licence it is: a statement, as lineages have it.

    Raises:
        SourceError: A text has to go along, and is neither there nor known here.
    """
    there = {licence: path for statement, path in found for licence in _ids(statement)}
    mine = _ids(own)
    wanted = dict.fromkeys((*mine, *(duty.licence for duty in duties.of("copy"))))
    texts: dict[str, Path | bytes] = {}
    for licence in wanted:
        text = there.get(licence) or _known(licence, duties)
        if text is None:
            raise SourceError(
                f"The text of the {_name(licence)} goes along with {name}, and is not here.",
                hint=f'Fetch it{_from(licence)} and name it in the release step: texts = ["{licence}.txt"].',
            )
        texts[_path(licence, mine)] = text
    texts.setdefault(LICENCE_FILE, f"{name} is under {own}.\n".encode())
    if duties.duties:
        texts[NOTICE_FILE] = notice_text(duties, name).encode()
    return texts


def release_duties(name: str, own: str, duties: Duties) -> Iterator[ReleaseDuty]:
    """The duties as a release records them: word for word where something has to stand there.

    Args:
        name: Of the release.
        own: The licence that it is under.
    """
    mine = _ids(own)
    for duty in duties.duties:
        models = tuple(dict.fromkeys(cause.model for cause in duty.causes))
        for text in _texts(duty, duties, name):
            yield ReleaseDuty(
                kind=duty.kind,
                text=text,
                source=", ".join(part for part in (duty.licence_name, duty.clause, _address(duty.licence)) if part),
                date=_read(duty.licence),
                models=models,
                path=_path(duty.licence, mine) if duty.kind == "copy" else None,
            )


def _texts(duty: Duty, duties: Duties, name: str) -> tuple[str, ...]:
    if duty.kind == "banner":
        only = Duties(model=duties.model, duties=(duty,))
        return banner_texts(only, name)
    return (duty.text,) if duty.kind in ("name_prefix", "notice", "copy") else (duty_words(duty),)


def _ids(statement: str) -> list[str]:
    """Ids in the table; of what is not in it, the statement."""
    known, strange = licences_of(statement)
    return [*(licence.id for licence in known), *strange]


def _path(licence: str, mine: list[str]) -> str:
    return LICENCE_FILE if mine and licence == mine[0] else f"licences/{licence}.txt"


def _known(licence: str, duties: Duties) -> bytes | None:
    """A text that is known here, with the models that it speaks of."""
    place = files(_KNOWN_TEXTS).joinpath("licence_texts", f"{licence}.txt")
    if not place.is_file():
        return None
    models = dict.fromkeys(
        cause.model for duty in duties.duties if duty.licence == licence for cause in duty.causes
    ) or {duties.model: None}
    return place.read_text("utf-8").replace("{holders}", f"the authors of {', '.join(models)}").encode()


def _row(licence: str) -> Mapping[str, str]:
    row = licences().get(licence)
    return {} if row is None else {"name": row.name, "address": row.address, "read": row.read.isoformat()}


def _name(licence: str) -> str:
    return _row(licence).get("name", f"licence {licence}")


def _address(licence: str) -> str:
    return _row(licence).get("address", "")


def _from(licence: str) -> str:
    address = _address(licence)
    return f" from {address}" if address else ""


def _read(licence: str) -> str:
    return _row(licence).get("read", "unknown")
