"""The layer of Landlock, where namespaces are refused: a user of its own, limits, Landlock and a stricter filter.

In: the number of a box. Out: a :class:`~spiritsafe.tasks.sandbox.box.Box`. Foreign code reads programs and libraries,
writes to one folder, and opens no socket and signals nobody; what it leaves is searched for and ended.
"""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path

from spiritsafe.tasks.sandbox.box import Box, BoxLost
from spiritsafe.tasks.sandbox.inside import kernel, leftovers
from spiritsafe.tasks.sandbox.walls import (
    INSIDE,
    closed_folder,
    free_slot,
    interpreter,
    python_folders,
    readable_places,
    user_of,
)

NAME = "landlock"
_SYSTEMS_PYTHON = "/usr/bin/python3"
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


def why_not() -> str | None:
    """Why it cannot be tried here."""
    if not kernel.landlock_version():
        return "this kernel has no Landlock"
    return None if _interpreter() else f"no Python here can be run by other users, {interpreter()} not either"


def _interpreter() -> Path | None:
    """One that those can run who run foreign code."""
    if os.geteuid() != 0:
        return interpreter()
    return next((path for path in (interpreter(), Path(_SYSTEMS_PYTHON)) if path.exists() and _is_open(path)), None)


def _is_open(path: Path) -> bool:
    return closed_folder(path) is None


def open_box(slot: int, extra: tuple[str, ...] = ()) -> Box:
    """A box; see :func:`spiritsafe.tasks.sandbox.namespaces.open_box`.

    Raises:
        BoxLost: This machine does not allow it, or who runs in it could not reach what it is to show.
    """
    user = user_of(slot)
    for path in map(Path, extra if user is not None else ()):
        if (closed := closed_folder(path / "any" if path.is_dir() else path)) is not None:
            free_slot(slot)
            raise BoxLost(
                f"foreign code runs as another user, who cannot enter {closed} and so not read {path}",
                hint=f"Let others enter it (chmod o+x {closed}), move {path} elsewhere, or install bubblewrap.",
            )
    try:
        scratch = tempfile.mkdtemp(prefix="spiritsafe-sandbox-")
    except OSError:
        free_slot(slot)
        raise
    os.chmod(scratch, 0o711)
    places, _ = readable_places()
    python = _interpreter() or interpreter()
    own = python_folders() if python == interpreter() else []
    readable = [*places, *own, *filter(os.path.exists, _DEVICES), *extra]
    setting = {"has_namespaces": False, "user": user, "scratch": scratch, "readable": readable}
    command = [str(python), "-I", "-S", "-B", str(INSIDE / "fork_server.py")]
    return Box(command, setting, layer=NAME, slot=slot, after=partial(_clear_away, scratch, user))


def _clear_away(scratch: str, user: int | None) -> None:
    if user is not None:  # a server that was killed left what ran under it
        leftovers.end_user(user)
    leftovers.remove(scratch)
