"""What every layer needs to know: the interpreter inside, the folders that foreign code may read, users to be.

In: this machine. Out: paths and numbers.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import threading
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
_FIRST_USER = 1 << 30
MOST_BOXES = 256
"""Of a process at once: each is a user of its own, below 2 to the power of 31."""
_taken: set[int] = set()
_lock = threading.Lock()


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


def take_slot() -> int:
    """A number that no other box of this process has until it is freed.

    Raises:
        OSError: There are as many boxes as there can be.
    """
    with _lock:
        slot = next((slot for slot in range(MOST_BOXES) if slot not in _taken), None)
        if slot is None:
            raise OSError(errno.EAGAIN, f"{MOST_BOXES} sandboxes of one process are the most")
        _taken.add(slot)
        return slot


def free_slot(slot: int) -> None:
    """Let another box have it."""
    with _lock:
        _taken.discard(slot)


def _forget() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def user_of(slot: int) -> int | None:
    """A user that nobody else is; None where this process cannot become another."""
    return _FIRST_USER + os.getpid() * MOST_BOXES + slot if os.geteuid() == 0 else None


def closed_folder(path: Path) -> Path | None:
    """The first folder on the way to a file that other users cannot enter; None: they can reach it."""
    return next((folder for folder in reversed(path.parents) if not folder.stat().st_mode & stat.S_IXOTH), None)


def find_tool(name: str) -> str | None:
    """Where a program is."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/bin:/bin:/usr/local/bin")
