"""The table of licences: which one a statement, a model's name or a server's address means.

In: ``licences/*.toml``, one file a family. Out: :class:`~spiritsafe.release.duties.records.Licence` records, each with
its duties. A new licence is a row there, never code.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from spiritsafe.core.errors import IntegrityError
from spiritsafe.release.duties.records import Licence

_FOLDER = "licences"
_PREFIXES = ("licenseref-", "scancode-")
_PARTS = re.compile(r"\s+(?:and|or|with)\s+|[()]", re.IGNORECASE)
_UNSTATED = {"", "unknown", "other", "none", "noassertion"}


@cache
def licences() -> Mapping[str, Licence]:
    """Every licence that is known, by its id.

    Raises:
        IntegrityError: A row of the table is wrong.
    """
    found: dict[str, Licence] = {}
    for entry in sorted(files(__package__).joinpath(_FOLDER).iterdir(), key=lambda entry: entry.name):
        for licence in _family(entry.name, tomllib.loads(entry.read_text("utf-8"))):
            found[licence.id] = licence
    return MappingProxyType(found)


def _family(file: str, table: dict[str, Any]) -> Iterator[Licence]:
    rows, duties = table["licence"], table["duty"]
    known = {row["id"] for row in rows}
    if strange := {one for duty in duties for one in duty["of"]} - known:
        raise IntegrityError(
            f"{file} has duties of {', '.join(sorted(strange))}, which no row of it is.",
            hint="Reinstall spiritsafe; or add the licence to the file.",
        )
    for row in rows:
        values = {key: str(value) for key, value in {**row, **row.pop("values", {})}.items()}
        own = [duty for duty in duties if row["id"] in duty["of"]]
        filled = [{key: _filled(value, values) for key, value in duty.items() if key != "of"} for duty in own]
        yield Licence.from_json({**row, "duties": filled})


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    """A text with what differs between versions of a licence; ``{model}`` stays."""
    if not isinstance(value, str):
        return value
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), value)


def licence_key(statement: str) -> str:
    """The form in which ids are compared: lower case, without ``LicenseRef-`` and the like."""
    key = re.sub(r"[^a-z0-9.+]+", "-", statement.strip().lower()).strip("-")
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return key


@cache
def _by_key() -> Mapping[str, Licence]:
    return {licence_key(key): licence for licence in licences().values() for key in (licence.id, *licence.ids)}


def licences_of(statement: str, *models: str) -> tuple[tuple[Licence, ...], tuple[str, ...]]:
    """The licences that a model is under.

    Of an expression ("MIT AND Apache-2.0", "MIT OR GPL-3.0-only") every part counts: whoever meets them all is right
    whatever part holds.

    Args:
        statement: An SPDX id or expression, a hub's tag, or a ``LicenseRef-``.
        models: Names of the model, where it was made elsewhere: some tags stand for several texts, some are wrong.

    Returns:
        Those that are known; and the parts of the statement that are not, where neither they nor the name tell.
    """
    found: dict[str, Licence] = {}
    unknown = []
    for part in (part.strip() for part in _PARTS.split(statement)):
        licence = _by_key().get(licence_key(part))
        if licence is not None:
            found[licence.id] = licence
        elif part:
            unknown.append(part)
    if not found and not unknown:  # nothing, or brackets and words between no licences
        unknown.append(statement.strip())
    named = [one for one in licences().values() if any(_is_named(one, model) for model in models)]
    found |= {licence.id: licence for licence in named}
    if named:  # "other" is told by the name; a text that nobody knows stays to be read
        unknown = [part for part in unknown if is_stated(part)]
    return tuple(found.values()), tuple(unknown)


def is_stated(statement: str) -> bool:
    """Whether a statement says anything at all."""
    return licence_key(statement) not in _UNSTATED


def licence_of_endpoint(url: str) -> str | None:
    """The ``LicenseRef-`` of the terms that a closed service's models come under; None of other servers."""
    host = (urlsplit(url).hostname or "").lower()
    for licence in licences().values():
        if any(host == known or host.endswith((f".{known}", f"-{known}")) for known in licence.hosts):
            return f"LicenseRef-{licence.id}"
    return None


def _is_named(licence: Licence, model: str) -> bool:
    name = re.sub(r"[^a-z0-9./]+", "-", model.partition("@")[0].lower())
    return any(_has_phrase(name, phrase) for phrase in licence.models) and not any(
        _has_phrase(name, phrase) for phrase in licence.not_models
    )


def _has_phrase(name: str, phrase: str) -> bool:
    """Whether a name holds a phrase in whole words."""
    words = re.escape(phrase.removeprefix("^")).replace(r"\*", "[a-z0-9.]*")
    start = r"(?:^|/)" if phrase.startswith("^") else r"(?:^|[-/]|[a-z]\.)"  # meta.llama3 is a name as well
    last = r"(?=$|-)" if phrase.startswith("^") else r"(?=$|[-/])"
    return re.search(f"{start}{words}{last}", name) is not None
