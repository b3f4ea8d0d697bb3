"""The keeper's protocol, spoken by hand."""

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

from hostile_task import PROBLEM


def talk(source: str, *texts: str, **limits: float) -> list[dict[str, Any]]:
    """Replies to requests that were all sent at once."""
    lines = "".join(json.dumps({"problem": PROBLEM.to_json(), "text": text}) + "\n" for text in texts)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    scratch = tempfile.mkdtemp()
    options = json.dumps({"source": source, "limits": limits, "scratch": scratch})
    command = [sys.executable, "-m", "spiritsafe.tasks.grading.main", options]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True, env=environment, timeout=60)
    assert not os.path.exists(scratch)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_ready_then_one_reply_a_request() -> None:
    ready, *replies = talk("hostile_task:HostileTask", "ok", "die", "raise", "no", "die later", "ok")
    assert ready["ready"][0].startswith("hostile_task:HostileTask?sha256=")
    assert ready["ready"][1:] == ["1", "hostile", "1"]
    assert 1 << 20 < ready["address_bytes"] < 1 << 32
    assert [reply.get("unscored") or reply["verdict"]["status"] for reply in replies] == [
        "correct",
        "its process ended with code 3",
        "ValueError: invalid literal for int() with base 10: 'junk'",
        "wrong",
        "wrong",
        "correct",
    ]


def test_a_task_that_cannot_be_built() -> None:
    (only,) = talk("hostile_task:nothing", "ok")
    assert "hostile_task.py has no" in only["failed"]


def test_memory_that_ran_out_in_a_used_worker_is_tried_again_in_a_fresh_one() -> None:
    _, *replies = talk("hostile_task:HostileTask", *["leak"] * 4, "allocate", memory_bytes=512 << 20)
    assert [reply["verdict"]["status"] for reply in replies[:4]] == ["wrong"] * 4
    assert replies[4] == {"unscored": "MemoryError: the memory limit was reached"}
