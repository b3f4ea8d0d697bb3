"""The programs that are handed into sandboxes.

In: names of modules of :mod:`spiritsafe.tasks.code.duet.inside`. Out: files of a run, with ``main.py``, which runs the
first one's ``main``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from spiritsafe.tasks.code.duet import inside

_FOLDER = inside.__name__.replace(".", "/")


@cache
def _text(name: str) -> str:
    return Path(inside.__path__[0], f"{name}.py").read_text("utf-8")


def program_files(*names: str) -> dict[str, str]:
    """Those modules where they can be imported by their names, and ``main.py``."""
    files = {f"{_FOLDER}/{name}.py": _text(name) for name in names}
    return {**files, "main.py": f"from {inside.__name__}.{names[0]} import main\n\nmain()\n"}
