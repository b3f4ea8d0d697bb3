"""Canonical JSON (RFC 8785) and the digests taken over it.

In: JSON values, files, directories. Out: bytes and ``sha256:<hex>`` strings. Two values that mean the same have the
same bytes, on every machine; names of runs, commitments and signatures all stand on this.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import rfc8785

from spiritsafe.core.errors import IntegrityError, SourceError

__all__ = ["JSON", "canonical_json", "digest", "digest_bytes", "digest_directory", "digest_file", "short"]

JSON = Mapping[str, "JSON"] | Sequence["JSON"] | str | int | float | bool | None
"""Any JSON value. Integers beyond ±(2**53 - 1) have no canonical form and are refused."""

_CHUNK_BYTES = 1 << 20
_LARGEST_INTEGER = 2**53 - 1
_SPELLED_OUT = re.compile(r'"\\u0000([^"\\]+)\\u0000"')
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class _UncommonError(Exception):
    """A value whose RFC 8785 form the standard library's encoder would not write."""


def _common(value: Any) -> Any:
    """The value with its numbers so that the encoder writes them as RFC 8785 does.

    Whole ones become integers, very large and small ones are spelled out between two NULs.

    Raises:
        _UncommonError: The encoder would write it otherwise: keys beyond ASCII (sorted otherwise), NULs, other types.
    """
    kind = type(value)
    if kind is str:
        if "\0" in value:
            raise _UncommonError
        return value
    if value is None or kind is bool:
        return value
    if kind is dict:
        for key in value:
            if type(key) is not str or not key.isascii() or "\0" in key:
                raise _UncommonError
        return {key: _common(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [_common(item) for item in value]
    if kind is int and -_LARGEST_INTEGER <= value <= _LARGEST_INTEGER:
        return value
    if kind is float:
        if 1e-4 <= abs(value) < _LARGEST_INTEGER or value == 0.0:
            return int(value) if value.is_integer() else value
        return f"\0{rfc8785.dumps(value).decode('ascii')}\0"
    raise _UncommonError


def canonical_json(value: JSON) -> bytes:
    """The RFC 8785 bytes of a JSON value.

    Raises:
        IntegrityError: The value has no canonical form (NaN, infinity, an integer beyond 2**53, a lone surrogate).
    """
    try:
        try:
            # The same bytes as rfc8785 writes (a property test holds them against each other), at half its time.
            text = _ENCODER.encode(_common(value))
            if "\\u0000" in text:
                text = _SPELLED_OUT.sub(r"\1", text)
            return text.encode("utf-8")
        except _UncommonError:
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
