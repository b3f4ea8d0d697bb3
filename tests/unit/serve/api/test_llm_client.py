"""The `llm` program, unchanged, with the server named in the file that it reads for such servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from served_app import serving_in_thread
from served_engine import FakeEngine, calls, says

from spiritsafe.core.serving import Form

pytest.importorskip("llm", reason="the client is not installed: pip install llm")

SECONDS = 120
SCHEMA = '{"type": "object", "properties": {"name": {"type": "string"}}}'
MODEL = """
- model_id: served
  model_name: fake
  api_base: "{address}/v1"
  supports_schema: true
  supports_tools: true
"""
CLOCK = 'def clock(zone: str) -> str:\n    """The time."""\n    return "noon in " + zone\n'


class Program:
    """``llm`` with a home of its own."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def __call__(self, *arguments: str) -> str:
        ran = subprocess.run(
            [sys.executable, "-m", "llm", "prompt", "-m", "served", "--key", "none", *arguments],
            env={**os.environ, "LLM_USER_PATH": str(self._home), "LLM_LOAD_PLUGINS": ""},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(says("Hel", "lo."))


@pytest.fixture
def llm(engine: FakeEngine, tmp_path: Path) -> Iterator[Program]:
    with serving_in_thread(engine) as address:
        (tmp_path / "extra-openai-models.yaml").write_text(MODEL.format(address=address), "utf-8")
        yield Program(tmp_path)


@pytest.mark.parametrize("how", [(), ("--no-stream",)])
def test_it_talks(how: tuple[str, ...], engine: FakeEngine, llm: Program) -> None:
    assert llm("Hi.", "-s", "Be brief.", "-o", "temperature", "0.5", "-o", "seed", "7", *how) == "Hello.\n"
    (job,) = engine.jobs
    assert [(one.role, one.content) for one in job.messages] == [("system", "Be brief."), ("user", "Hi.")]
    assert (job.temperature, job.seed) == (0.5, 7)


def test_it_asks_for_a_schema(engine: FakeEngine, llm: Program) -> None:
    engine.script = says('{"name"', ': "Ada"}')
    assert json.loads(llm("A name.", "--schema", SCHEMA)) == {"name": "Ada"}
    form = engine.jobs[0].form
    assert isinstance(form, Form)
    assert (form.kind, list(json.loads(form.source)["properties"])) == ("schema", ["name"])


def test_it_lends_a_tool(engine: FakeEngine, llm: Program) -> None:
    engine.script = lambda job: (
        says("It is ", job.messages[-1].content)(job)
        if job.messages[-1].role == "tool"
        else calls(("clock", '{"zone":"Lund"}'))(job)
    )
    assert llm("The time?", "--functions", CLOCK) == "It is noon in Lund\n"
