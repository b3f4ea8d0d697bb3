"""The layer of namespaces: bubblewrap's walls, and for each run namespaces, a user, limits and a filter of its own.

In: the number of a box. Out: a :class:`~spiritsafe.tasks.sandbox.box.Box`. It has no network, sees nothing of this
system but programs and libraries, which it cannot write to, and each run finds empty folders that are gone with it.
"""

from __future__ import annotations

from pathlib import Path

from spiritsafe.tasks.sandbox.box import Box
from spiritsafe.tasks.sandbox.walls import (
    INSIDE,
    find_tool,
    interpreter,
    python_folders,
    readable_places,
    user_of,
)

NAME = "namespaces"
_INSIDE = "/run/inside"
_OUTSIDE = "/run/outside"


def why_not() -> str | None:
    """Why it cannot be tried here."""
    return None if find_tool("bwrap") else "bubblewrap is not installed"


def open_box(slot: int, extra: tuple[str, ...] = ()) -> Box:
    """A box.

    Args:
        slot: Of :func:`~spiritsafe.tasks.sandbox.walls.take_slot`.
        extra: More folders and files that can be read in it, at :func:`shown_at`.

    Raises:
        BoxLost: This machine does not allow it.
    """
    user = user_of(slot)
    setting = {"has_namespaces": True, "user": user}
    server = [str(interpreter()), "-I", "-S", "-B", f"{_INSIDE}/fork_server.py"]
    command = [find_tool("bwrap") or "bwrap", *_walls(extra, has_user=user is not None), *server]
    return Box(command, setting, layer=NAME, slot=slot)


def shown_at(path: str) -> str:
    """Where in a box a folder or file is that was added: at its own place, but /tmp is new and empty in each run."""
    return f"{_OUTSIDE}{path}" if Path(path).is_relative_to("/tmp") else path


def _walls(extra: tuple[str, ...], *, has_user: bool) -> list[str]:
    places, links = readable_places()
    bound = {path: path for path in (*places, *python_folders())} | {path: shown_at(path) for path in extra}
    folders = sorted({str(parent) for path in (*bound.values(), _INSIDE) for parent in Path(path).parents} - {"/"})
    return [
        *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
        # for another number than 0 bubblewrap makes a second namespace of users, which does not own the others
        *([] if has_user else ["--unshare-user", "--uid", "0", "--gid", "0"]),
        *("--die-with-parent", "--new-session", "--clearenv", "--setenv", "PYTHONHASHSEED", "0"),
        *("--hostname", "sandbox", "--proc", "/proc", "--dev", "/dev", "--dir", "/tmp"),
        *(part for folder in folders for part in ("--perms", "0755", "--dir", folder)),
        *(part for path, place in bound.items() for part in ("--ro-bind", path, place)),
        *(part for target, link in links for part in ("--symlink", target, link)),
        *("--ro-bind", str(INSIDE), _INSIDE),
        *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/", "--cap-add", "ALL", "--"),
    ]
