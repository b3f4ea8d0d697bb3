"""What lies in a release's directory, without following anything out of it.

In: a directory that somebody else may have made. Out: its plain files by their paths, and what is there and no plain
file. A download leaves files of its own beside a release's (``.gitattributes``, ``.cache``): these are told apart.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from spiritsafe.core.errors import SourceError
from spiritsafe.core.text.safe_text import one_line

OF_DOWNLOADS = (".cache", ".git", ".gitattributes", ".github", ".gitignore")
"""What hubs and their clients put beside the files: signed by nobody, loaded by nothing."""

_MOST_ENTRIES = 100_000
_MOST_DEPTH = 32
_KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISDIR, "an empty folder"),
)


@final
@dataclass(frozen=True, slots=True)
class DirectoryListing:
    """What there is.

    Attributes:
        files: By their paths, POSIX, from the top.
        odd: What is no plain file, each with what it is.
        of_downloads: Which of :data:`OF_DOWNLOADS` lie there, and were not looked into.
    """

    files: dict[str, Path] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    of_downloads: list[str] = field(default_factory=list)


def list_directory(directory: Path) -> DirectoryListing:
    """List it.

    Raises:
        SourceError: It is no directory, cannot be read, or has no end.
    """
    if not directory.is_dir():
        raise SourceError(f"{directory} is no directory.", hint="Give the directory of a release.")
    found = DirectoryListing()
    try:
        _walk(directory, "", found, 0)
    except OSError as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(
            f"{directory} cannot be read: {error.strerror}.", hint="Check that all of it is yours to read."
        ) from error
    return found


def _walk(folder: Path, prefix: str, found: DirectoryListing, depth: int) -> None:
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    if len(found.files) + len(found.odd) + len(entries) > _MOST_ENTRIES or depth > _MOST_DEPTH:
        raise SourceError(
            f"{folder} holds more than {_MOST_ENTRIES:,} files, or folders in each other beyond {_MOST_DEPTH}.",
            hint="No release does: check the path.",
        )
    if not entries and prefix:
        found.odd.append(f"{one_line(prefix[:-1])} (an empty folder)")
    for entry in entries:
        path = f"{prefix}{entry.name}"
        mode = entry.stat(follow_symlinks=False).st_mode
        if not prefix and entry.name in OF_DOWNLOADS and not stat.S_ISLNK(mode):
            found.of_downloads.append(entry.name)
        elif stat.S_ISDIR(mode):
            _walk(Path(entry.path), f"{path}/", found, depth + 1)
        elif stat.S_ISREG(mode):
            found.files[path] = Path(entry.path)
        else:
            kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "a device")
            found.odd.append(f"{one_line(path)} ({kind})")
