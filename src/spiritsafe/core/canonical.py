"""Canonical JSON (RFC 8785) and the digests taken over it.

In: JSON values, files, directories. Out: bytes and ``sha256:<hex>`` strings. Two values that mean the same have the
same bytes, on every machine; names of runs, commitments and signatures all stand on this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import rfc8785

from spiritsafe.core.errors import IntegrityError, SourceError

__all__ = ["JSON", "canonical_json", "digest", "digest_bytes", "digest_directory", "digest_file", "short"]

JSON = Mapping[str, "JSON"] | Sequence["JSON"] | str | int | float | bool | None
"""Any JSON value. Integers beyond ±(2**53 - 1) have no canonical form and are refused."""

_CHUNK_BYTES = 1 << 20


def canonical_json(value: JSON) -> bytes:
    """The RFC 8785 bytes of a JSON value.

    Raises:
        IntegrityError: The value has no canonical form (NaN, infinity, an integer beyond 2**53, a lone surrogate).
    """
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
