"""Digests of files and directories, ``sha256:<hex>`` as those of canonical JSON."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import SourceError
from spiritsafe.core.files.reading import open_to_read

LINEAGE = "lineage.json"
"""What a model directory says of itself; it names the digest, so it cannot be part of it."""

ROUTED = "routed.json"
"""The router of a directory that has no weights of its own, because several models answer for it."""

PLACES = "places.json"
"""Where these models lie. It is no part of what the directory is: their digests are, and stand in the router."""

_CHUNK_BYTES = 1 << 20


def digest_file(path: Path) -> str:
    """``sha256:<hex>`` of a file's bytes.

    Raises:
        SourceError: The file cannot be read.
    """
    hasher = hashlib.sha256()
    try:
        with open_to_read(path) as file:
            while chunk := file.read(_CHUNK_BYTES):
                hasher.update(chunk)
    except SourceError:  # an OSError too, which already says what to do
        raise
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror}.", hint="Check that it exists and is yours to read."
        ) from error
    return f"sha256:{hasher.hexdigest()}"


def digest_directory(path: Path, *, exclude: Iterable[str] = ()) -> str:
    """Digest of a directory: the digest of ``{relative path: digest of file}``, sorted by path.

    Args:
        exclude: Relative POSIX paths to leave out (``lineage.json`` names the digest, so it cannot be part of it).

    Raises:
        SourceError: A file cannot be read, or has a name that is not UTF-8; or there is a link to a folder.
    """
    skip = set(exclude)
    found: dict[str, str] = {}
    for place in sorted(path.rglob("*")):
        name = place.relative_to(path).as_posix()
        if place.is_symlink() and place.is_dir():
            raise SourceError(
                f"{path} holds a link to a folder, {name}: what is in it would not be part of the digest.",
                hint="Put the folder itself there.",
            )
        if not place.is_file() or name in skip:
            continue
        if not _is_text(name):
            raise SourceError(
                f"{path} holds a file whose name is not UTF-8: {os.fsencode(name)!r}.", hint="Rename the file."
            )
        found[name] = digest_file(place)
    return digest(found)


def file_model(directory: Path) -> Path | None:
    """The GGUF file of a directory that holds exactly one such file and perhaps ``lineage.json``; None of another."""
    names = {place.name for place in directory.iterdir()} - {LINEAGE} if directory.is_dir() else set()
    if len(names) != 1:
        return None
    (name,) = names
    return directory / name if name.endswith(".gguf") and (directory / name).is_file() else None


def is_routed(directory: Path) -> bool:
    """Whether a directory holds a router, where its models lie, perhaps ``lineage.json``, and nothing else."""
    names = {place.name for place in directory.iterdir()} if directory.is_dir() else set()
    return ROUTED in names and names <= {ROUTED, PLACES, LINEAGE}


def digest_model(directory: Path) -> str:
    """Digest of a model directory: of its GGUF file or router where that is it, else of all files but ``lineage.json``.

    A file's digest is what ``sha256sum`` says of it, so that whoever has the file alone can compare.

    Raises:
        SourceError: As :func:`digest_file` and :func:`digest_directory`.
    """
    file = directory / ROUTED if is_routed(directory) else file_model(directory)
    return digest_directory(directory, exclude=[LINEAGE]) if file is None else digest_file(file)


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
