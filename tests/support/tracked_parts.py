"""What a tracker must hold after :mod:`tracked_program`: every number of the event log, at its step."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "tracked_program.py"
COUNTED = {"train_step": ("step", ""), "reinforce_round": ("round", "round/"), "on_policy_round": ("round", "round/")}
Curves = list[tuple[str, int, float]]


def logged(events: Path) -> Curves:
    """Points by the event log, read without spiritsafe."""
    found: Curves = []
    for line in events.read_text("utf-8").splitlines():
        event = json.loads(line)
        if event["kind"] not in COUNTED:
            continue
        key, inside = COUNTED[event["kind"]]
        step = event.pop(key)
        rows = {name: value for name, value in event.items() if name not in ("time", "stage", "kind", "evaluation")}
        rows |= {f"evaluation/{name}": value for name, value in event.get("evaluation", {}).items()}
        found += [
            (f"{event['stage']}/{inside}{name}", step, float(value))
            for name, value in rows.items()
            if type(value) in (int, float)
        ]
    return sorted(found)


def tracked(name: str, folder: Path, **environment: str) -> Curves:
    """What the tracker of that name holds in the end; the test is skipped without its library."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"the tracker's library is not installed: pip install 'spiritsafe[{name}]'")
    done = subprocess.run(
        [sys.executable, PROGRAM, name, folder],
        env={**os.environ, "HOME": str(folder), **environment},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = (folder / "events.jsonl").read_text("utf-8")
    assert "gets no more" not in told, told + done.stderr
    return sorted((curve, step, value) for curve, step, value in json.loads(done.stdout))
