"""The layer of namespaces: bubblewrap's walls, and for each run namespaces, a user, limits and a filter of its own.

In: the number of a box. Out: a :class:`~spiritsafe.tasks.sandbox.box.Box`. It has no network, sees nothing of this
system but programs and libraries, which it cannot write to, and each run finds empty folders that are gone with it.
"""

from __future__ import annotations

import os
from pathlib import Path

from spiritsafe.tasks.sandbox.box import Box
from spiritsafe.tasks.sandbox.walls import (
    INSIDE,
    find_tool,
    free_slot,
    interpreter,
    python_folders,
    readable_places,
    user_of,
)

NAME = "namespaces"
_INSIDE = "/run/inside"


def why_not() -> str | None:
    """Why it cannot be tried here."""
    return None if find_tool("bwrap") else "bubblewrap is not installed"


def open_box(slot: int, extra: tuple[str, ...] = ()) -> Box:
    """A box.

    Args:
        slot: Of :func:`~spiritsafe.tasks.sandbox.walls.take_slot`.
        extra: More folders and files that can be read in it.

    Raises:
        BoxLost: This machine does not allow it.
        ValueError: What is added would not be seen.
    """
    for path in extra:
        if Path(os.path.realpath(path)).is_relative_to("/tmp") or Path(path).is_relative_to("/tmp"):
            free_slot(slot)
            raise ValueError(f"{path} cannot be shown in a sandbox: /tmp is new and empty in each run")
    user = user_of(slot)
    setting = {"has_namespaces": True, "user": user}
    server = [str(interpreter()), "-I", "-S", "-B", f"{_INSIDE}/fork_server.py"]
    command = [find_tool("bwrap") or "bwrap", *_walls(extra, has_user=user is not None), *server]
    return Box(command, setting, layer=NAME, slot=slot)


def _walls(extra: tuple[str, ...], *, has_user: bool) -> list[str]:
    places, links = readable_places()
    bound = [*places, *python_folders(), *extra]
    folders = sorted({str(parent) for path in (*bound, _INSIDE) for parent in Path(path).parents} - {"/"})
    return [
        *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
        # for another number than 0 bubblewrap makes a second namespace of users, which does not own the others
        *([] if has_user else ["--unshare-user", "--uid", "0", "--gid", "0"]),
        *("--die-with-parent", "--new-session", "--clearenv", "--setenv", "PYTHONHASHSEED", "0"),
        *("--hostname", "sandbox", "--proc", "/proc", "--dev", "/dev", "--dir", "/tmp"),
        *(part for folder in folders for part in ("--perms", "0755", "--dir", folder)),
        *(part for path in bound for part in ("--ro-bind", path, path)),
        *(part for target, link in links for part in ("--symlink", target, link)),
        *("--ro-bind", str(INSIDE), _INSIDE),
        *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/", "--cap-add", "ALL", "--"),
    ]
