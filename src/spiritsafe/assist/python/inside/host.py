"""The side of the tests; descriptor 3 leads to the side that compiles programs.

In: on standard input, as JSON, what is under test and how, with a nonce. Out: for each turn a line of JSON behind the
nonce. This module only makes the libraries of the project's environment importable; the rest is ``session``.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import site
import sys

_OFTEN = ("unittest.mock", "decimal", "fractions", "datetime", "textwrap", "logging", "traceback", "pickle", "tempfile")
"""What tests import."""
_SET_DUMPABLE = 4
"""Linux's number of it."""


def main() -> None:
    """Let each program have its turn."""
    job = json.loads(sys.stdin.buffer.read())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # else the turns share its place in the file
    ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)  # no turn can look into this process, where /proc is
    site.setquit()
    site.sethelper()
    paths = [path for path in job.pop("paths") if os.path.exists(path)]
    sys.path[:] = [*sys.path, *paths]
    for name in _OFTEN:
        importlib.import_module(name)
    session = importlib.import_module("spiritsafe.assist.python.inside.session")
    sys.path.remove(os.getcwd())
    for name in [name for name in sys.modules if name.partition(".")[0] in ("spiritsafe", "ctypes", "_ctypes")]:
        del sys.modules[name]  # the project may be of the one name; no test can find the others without being heard
    del globals()["ctypes"]
    session.run_session(job)
