"""npm's `ai` with two of its providers, unchanged: chat completions and Open Responses."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from node_packages import node_packages
from served_app import serving_in_thread
from served_engine import FakeEngine, calls, says

from spiritsafe.core.serving import Job, JobEvent

PROGRAM = Path(__file__).parents[3] / "support" / "npm_chat.mjs"
SECONDS = 120


def script(job: Job) -> Iterable[JobEvent]:
    """Calls the tool that it is given, and says what came back; else thinks and greets."""
    if job.messages[-1].role == "tool":
        return says(job.messages[-1].content, ".")(job)
    if job.messages[0].tools:
        return calls(("weather", '{"town":"Lund"}'))(job)
    return says("Hel", "lo.", thought=("Look", " up"))(job)


@pytest.mark.parametrize(
    ("client", "param"),
    [("openai-compatible", "messages[0].content[0].type"), ("open-responses", "input[0].content[0]")],
)
def test_the_client_talks_streams_and_calls_tools(client: str, param: str) -> None:
    node, packages = node_packages()
    engine = FakeEngine(script)
    with serving_in_thread(engine) as address:
        ran = subprocess.run(
            [node, PROGRAM, address, client],
            env={**os.environ, "NODE_PACKAGES": str(packages)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
    said: dict[str, Any] = json.loads(ran.stdout)
    for answer in (said["whole"], said["streamed"]):
        assert (answer["text"], answer["thought"]) == ("Hello.", "Look up")
        usage = answer["usage"]
        assert (usage["inputTokens"], usage["outputTokens"], usage["outputTokenDetails"]["reasoningTokens"]) == (
            7,
            5,
            2,
        )
    assert said["whole"]["reason"] == "stop"
    assert said["streamed"]["kinds"].count("text-delta") == said["streamed"]["kinds"].count("reasoning-delta") == 2
    for called in (said["called"], said["called in a stream"]):
        assert called["calls"] == [{"toolName": "weather", "input": {"town": "Lund"}}]
        assert called["results"] == ["rain in Lund"]
        assert called["text"] == "rain in Lund."
    assert (said["refused"]["status"], said["refused"]["body"]["error"]["param"]) == (400, param)
    assert said["refused"]["message"] == said["refused"]["body"]["error"]["message"]
    assert (engine.jobs[0].max_tokens, engine.jobs[0].temperature) == (20, 0.5)
