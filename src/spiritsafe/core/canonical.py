"""Canonical JSON (RFC 8785) and the digests taken over it.

In: JSON values, files, directories. Out: bytes and ``sha256:<hex>`` strings. Two values that mean the same have the
same bytes, on every machine; names of runs, commitments and signatures all stand on this.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import rfc8785

from spiritsafe.core.errors import IntegrityError, SourceError

__all__ = ["JSON", "canonical_json", "digest", "digest_bytes", "digest_directory", "digest_file", "short"]

JSON = Mapping[str, "JSON"] | Sequence["JSON"] | str | int | float | bool | None
"""Any JSON value. Integers beyond ±(2**53 - 1) have no canonical form and are refused."""

_CHUNK_BYTES = 1 << 20
_LARGEST_INTEGER = 2**53 - 1
_FLOAT = re.compile(rb"[\[:,]-?[0-9]+(?:\.[0-9]+(?:e[-+]?[0-9]+)?|e[-+]?[0-9]+)(?=[,\]}])")  # with what stands before
_BEYOND = re.compile(rb"[\xee-\xf4]")  # UTF-8 of U+E000 and above, which UTF-16 sorts otherwise than code points do
_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER | orjson.OPT_PASSTHROUGH_SUBCLASS
_LEAVES = frozenset({str, int, bool, type(None)})


class _UncommonError(Exception):
    """A value whose RFC 8785 form the fast encoder would not write."""


def _is_odd(number: float) -> bool:
    """Whether the fast encoder may write it otherwise than RFC 8785."""
    return number.is_integer() or not 1e-4 <= abs(number) < _LARGEST_INTEGER


def _num_odd(value: Any) -> int:
    """How many such floats there are in it.

    Raises:
        _UncommonError: It holds something else that the encoder does not know.
    """
    count = 0
    waiting = [(value,)]
    while waiting:
        one = waiting.pop()
        for item in one.values() if type(one) is dict else one:
            kind = type(item)
            if kind in _LEAVES:
                continue
            if kind is dict or kind is list or kind is tuple:
                waiting.append(item)
            elif kind is float and math.isfinite(item):
                count += _is_odd(item)
            else:
                raise _UncommonError
    return count


def _encoded(value: JSON) -> bytes:
    """What the fast encoder makes of it, with odd floats written again.

    Raises:
        _UncommonError: It is not what RFC 8785 says.
        orjson.JSONEncodeError: It cannot be encoded.
    """
    num_odd = _num_odd(value)
    text = orjson.dumps(value, option=_OPTIONS)
    if num_odd:
        num_written = 0

        def write(found: re.Match[bytes]) -> bytes:
            nonlocal num_written
            number = float(found[0][1:])
            if not _is_odd(number):
                return found[0]
            num_written += 1
            short = number.is_integer() and abs(number) < _LARGEST_INTEGER
            return found[0][:1] + (b"%d" % int(number) if short else rfc8785.dumps(number))

        text = _FLOAT.sub(write, text)
        if num_written != num_odd:  # a string holds what looks like one
            raise _UncommonError
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
    except (_UncommonError, orjson.JSONEncodeError):
        pass  # rfc8785 knows it, or says why it has no canonical form
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise IntegrityError(
            f"This value has no canonical JSON form: {error}.",
            hint="Use finite numbers, integers below 2**53 and valid Unicode.",
        ) from error


def digest_bytes(data: bytes) -> str:
    """``sha256:<hex>`` of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def digest(value: JSON) -> str:
    """``sha256:<hex>`` of the canonical JSON of a value."""
    return digest_bytes(canonical_json(value))


def digest_file(path: Path) -> str:
    """``sha256:<hex>`` of a file's bytes.

    Raises:
        SourceError: The file cannot be read.
    """
    hasher = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                hasher.update(chunk)
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror}.", hint="Check that it exists and is yours to read."
        ) from error
    return f"sha256:{hasher.hexdigest()}"


def digest_directory(path: Path, *, exclude: Iterable[str] = ()) -> str:
    """Digest of a directory: the digest of ``{relative path: digest of file}``, sorted by path.

    Args:
        path: The directory.
        exclude: Relative POSIX paths to leave out (``lineage.json`` names the digest, so it cannot be part of it).
    """
    skip = set(exclude)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return digest({r: digest_file(p) for p in files if (r := p.relative_to(path).as_posix()) not in skip})


def short(digest_text: str, length: int = 12) -> str:
    """The first characters of a digest without its prefix, for names of files and for people."""
    return digest_text.removeprefix("sha256:")[:length]
