"""Texts that go along with a release: its licence, copies of others, NOTICE.

In: what follows for a model, and licence texts that were found. Out: the texts by their paths in the release. One that
has to go along and is not there is asked for, never left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path

from spiritsafe.core.errors import SourceError
from spiritsafe.core.files.reading import read_bytes
from spiritsafe.core.records import Checkpoint
from spiritsafe.release.contents import LICENCE_FILE, NOTICE_FILE
from spiritsafe.release.duties.records import Duties
from spiritsafe.release.duties.table import licences, licences_of
from spiritsafe.release.duties.words import notice_text

_FOLDER = "licences"
_MOST_BYTES = 1 << 20
_KNOWN_TEXTS = "spiritsafe.release.duties"


def whole_licence(own: str, duties: Duties, lineage: Iterable[Checkpoint]) -> str:
    """The licence of a model as a whole: its own, and those of all other weights inside that ask for something.

    Args:
        own: What it bears, which is what it began with.
        lineage: Of the model and its ancestors; says how they write their licences.
    """
    known = _ids(own)
    inside = (duty.licence for duty in duties.duties if any("weights" in cause.uses for cause in duty.causes))
    others = [licence for licence in dict.fromkeys(inside) if licence not in known]
    if not others:
        return own
    said = [said for one in lineage for said in (one.license, *(parent.license for parent in one.parents))]
    spelled = {ids[0]: one for one in reversed(said) if len(ids := _ids(one)) == 1}
    first = f"({own})" if " OR " in own.upper() else own
    return " AND ".join((first, *(spelled.get(licence) or _id(licence) for licence in others)))


def licence_texts(
    name: str, own: str, duties: Duties, found: Iterable[tuple[str, Path]], others: Iterable[tuple[str, Path]] = ()
) -> dict[str, Path | bytes]:
    """The texts that go along with a release, by their paths in it.

    Args:
        name: Of the release.
        own: The licence that it is under.
        found: Texts that are there, each with what says which licence it is: a statement, as lineages have it.
        others: Names and files of texts that were asked for or lie beside weights: where such a text is not among those
            that have to go along it goes along as well, once.

    Raises:
        SourceError: A text has to go along, and is neither there nor known here; or two would have one name.
    """
    there = {licence: path for statement, path in found for licence in _ids(statement)}
    texts: dict[str, Path | bytes] = {}
    for licence, place in licence_paths(own, duties).items():
        text = there.get(licence) or _known(licence, duties)
        if text is None:
            raise SourceError(
                f"The text of the {_name(licence)} goes along with {name}, and is not here.",
                hint=f'Fetch it{_from(licence)} and name it in the release step: texts = ["{licence}.txt"].',
            )
        texts[place] = text
    texts.setdefault(LICENCE_FILE, f"{name} is under {own}.\n".encode())
    if duties.duties:
        texts[NOTICE_FILE] = notice_text(duties, name).encode()
    held = {_content(text) for text in texts.values()}
    for called, text in others:
        place, content = f"{_FOLDER}/{called}", _content(text)
        if content in held:
            continue
        if place in texts:
            raise SourceError(f"Two texts of {name} are called {called}.", hint="Rename one: both go along.")
        texts[place] = text
        held.add(content)
    return texts


def licence_paths(own: str, duties: Duties) -> dict[str, str]:
    """Where the text of each licence lies that has to go along, by the licence's id.

    Args:
        own: The licence that the release is under.
    """
    mine = _ids(own)
    return {
        licence: LICENCE_FILE if mine[:1] == [licence] else f"{_FOLDER}/{licence}.txt"
        for licence in (*mine, *(duty.licence for duty in duties.of("copy")))
    }


def _content(text: Path | bytes) -> bytes:
    return text if isinstance(text, bytes) else read_bytes(text, most_bytes=_MOST_BYTES)


def _ids(statement: str) -> list[str]:
    """Ids in the table; of what is not in it, the statement."""
    known, strange = licences_of(statement)
    return [*(licence.id for licence in known), *strange]


def _known(licence: str, duties: Duties) -> bytes | None:
    """A text that is known here, with the models that it speaks of."""
    place = files(_KNOWN_TEXTS).joinpath("licence_texts", f"{licence}.txt")
    if not place.is_file():
        return None
    models = dict.fromkeys(
        cause.model for duty in duties.duties if duty.licence == licence for cause in duty.causes
    ) or {duties.model: None}
    return place.read_text("utf-8").replace("{holders}", f"the authors of {', '.join(models)}").encode()


def _id(licence: str) -> str:
    """As lineages would write it: the first name of a known one; of another the statement."""
    row = licences().get(licence)
    return licence if row is None else f"LicenseRef-{row.ids[0]}"


def _row(licence: str) -> Mapping[str, str]:
    row = licences().get(licence)
    return {} if row is None else {"name": row.name, "address": row.address}


def _name(licence: str) -> str:
    return _row(licence).get("name", f"licence {licence}")


def _address(licence: str) -> str:
    return _row(licence).get("address", "")


def _from(licence: str) -> str:
    address = _address(licence)
    return f" from {address}" if address else ""
