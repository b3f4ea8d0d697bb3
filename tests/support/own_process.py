"""Python in a process of its own, for what a test must not do to itself: give up rights, end its children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import spiritsafe

_SOURCE = Path(spiritsafe.__file__).parents[1]


def in_own_process(source: str) -> Any:
    """What it hands to ``say``, which it finds defined."""
    start = "import json, sys\ndef say(what):\n    sys.stdout.write(json.dumps(what))\n    sys.stdout.flush()\n"
    done = subprocess.run(
        [sys.executable, "-c", start + source],
        env={**os.environ, "PYTHONPATH": str(_SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"it ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)
