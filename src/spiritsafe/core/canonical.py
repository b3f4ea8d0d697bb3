"""Canonical JSON (RFC 8785) and the digests taken over it.

In: JSON values. Out: bytes and ``sha256:<hex>`` strings. Two values that mean the same have the
same bytes, on every machine; names of runs, commitments and signatures all stand on this.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import rfc8785

from spiritsafe.core.errors import IntegrityError

JSON = Mapping[str, "JSON"] | Sequence["JSON"] | str | int | float | bool | None
"""Any JSON value. Integers beyond ±(2**53 - 1) have no canonical form and are refused."""

_LARGEST_INTEGER = 2**53 - 1
_NUL = rb"\u0000"  # as the encoder writes it
_SPELLED_OUT = re.compile(rb'"\\u0000([^"\\]+)\\u0000"')
_BEYOND = re.compile(rb"[\xee-\xf4]")  # UTF-8 of U+E000 and above, which UTF-16 sorts otherwise than code points do
_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER | orjson.OPT_PASSTHROUGH_SUBCLASS
_LEAVES = frozenset({str, int, bool, type(None)})


class _UncommonError(Exception):
    """A value whose RFC 8785 form the fast encoder would not write."""


def _plain(value: Any, spelled: list[str]) -> Any:
    """The value with its numbers so that the encoder writes them as RFC 8785 does; itself where it does anyway.

    Whole floats become integers. Very large and small ones go to ``spelled``, and a string with a NUL on each side
    stands in their place.

    Raises:
        _UncommonError: It holds something that the encoder does not know, or no number.
    """
    kind = type(value)
    if kind in _LEAVES:
        return value
    if kind is float:
        return _plain_number(value, spelled)
    if kind is not dict and kind is not list and kind is not tuple:
        raise _UncommonError
    changed: Any = None
    entries: Any = value.items() if kind is dict else enumerate(value)
    for key, item in entries:
        inner = type(item)
        if inner in _LEAVES:
            continue
        written = _plain_number(item, spelled) if inner is float else _plain(item, spelled)
        if written is not item:
            if changed is None:
                changed = value.copy() if kind is dict else list(value)
            changed[key] = written
    return value if changed is None else changed


def _plain_number(value: float, spelled: list[str]) -> Any:
    size = abs(value)
    if size < _LARGEST_INTEGER:
        if value.is_integer():
            return int(value)
        if size >= 1e-4:
            return value
    elif not math.isfinite(value):
        raise _UncommonError
    spelled.append(rfc8785.dumps(value).decode("ascii"))
    return f"\0{spelled[-1]}\0"


def _encoded(value: JSON) -> bytes:
    """What the fast encoder makes of it.

    Raises:
        _UncommonError: It is not what RFC 8785 says.
        orjson.JSONEncodeError: It cannot be encoded.
    """
    spelled: list[str] = []
    text = orjson.dumps(_plain(value, spelled), option=_OPTIONS)
    if spelled:
        if text.count(_NUL) != 2 * len(spelled):  # a string holds one too
            raise _UncommonError
        text = _SPELLED_OUT.sub(rb"\1", text)
    if not text.isascii() and _BEYOND.search(text):
        raise _UncommonError
    return text


def canonical_json(value: JSON) -> bytes:
    """The RFC 8785 bytes of a JSON value.

    Raises:
        IntegrityError: The value has no canonical form (NaN, infinity, an integer beyond 2**53, a lone surrogate).
    """
    try:
        # The same bytes as rfc8785 writes (property tests hold them against each other), at a small part of its time.
        return _encoded(value)
    except (_UncommonError, orjson.JSONEncodeError, RecursionError):
        pass  # rfc8785 knows it, or says why it has no canonical form
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise IntegrityError(
            f"This value has no canonical JSON form: {reason}.",
            hint="Use finite numbers, integers below 2**53 and valid Unicode.",
        ) from error


def digest_bytes(data: bytes) -> str:
    """``sha256:<hex>`` of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def digest(value: JSON) -> str:
    """``sha256:<hex>`` of the canonical JSON of a value."""
    return digest_bytes(canonical_json(value))


def nesting(value: Any) -> int:
    """How deep lists and objects lie in each other: 0 for a string or number, 1 for a flat list."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, (dict, list, tuple))]:
        depth += 1
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return depth


def short(digest_text: str, length: int = 12) -> str:
    """The first characters of a digest without its prefix, for names of files and for people."""
    return digest_text.removeprefix("sha256:")[:length]
