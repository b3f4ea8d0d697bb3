"""What every layer needs to know: the interpreter inside, the folders that foreign code may read, users to be.

In: this machine. Out: paths and numbers.
"""

from __future__ import annotations

import os
import shutil
import sys
from functools import cache
from pathlib import Path

INSIDE = Path(__file__).parent / "inside"
"""The files that are handed in."""
_READABLE = (
    "/usr",
    "/etc/alternatives",  # Debian's compilers are found through it
    "/etc/gnucobol",
    "/etc/ld.so.cache",
)
_LINKS = ("/bin", "/sbin", "/lib", "/lib64", "/lib32")
_FIRST_USER, _MOST_BOXES = 1 << 30, 64


@cache
def interpreter() -> Path:
    """Python without a virtual environment, so that foreign code finds its own library only."""
    return Path(os.path.realpath(sys.executable))


def python_folders() -> list[str]:
    """Where that interpreter's files are, unless among the rest."""
    found = dict.fromkeys((sys.base_prefix, sys.base_exec_prefix, str(interpreter().parent)))
    outside = [os.path.realpath(path) for path in found if not Path(path).is_relative_to("/usr")]
    return [
        path for path in outside if not any(Path(path) != Path(o) and Path(path).is_relative_to(o) for o in outside)
    ]


def readable_places() -> tuple[list[str], list[tuple[str, str]]]:
    """Folders and files of the system; and links to them, each with where it leads."""
    links = [(os.readlink(link), link) for link in _LINKS if os.path.islink(link)]
    folders = [link for link in _LINKS if os.path.isdir(link) and not os.path.islink(link)]
    return [path for path in (*_READABLE, *folders) if os.path.exists(path)], links


def user_of(slot: int) -> int | None:
    """A user that nobody else is; None where this process cannot become another."""
    return _FIRST_USER + os.getpid() * _MOST_BOXES + slot % _MOST_BOXES if os.geteuid() == 0 else None


def find_tool(name: str) -> str | None:
    """Where a program is."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/bin:/bin:/usr/local/bin")
