from __future__ import annotations

import sys
from pathlib import Path

import pytest
from heard import Heard

from spiritsafe.core.errors import ProcedureError, SourceError
from spiritsafe.core.process import own_command
from spiritsafe.core.process.own_command import call_command


def test_what_it_prints_comes_back_and_what_it_tells_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
import json
print('a line')
print(json.dumps({"kind": "progress", "done": 1, "total": 2, "unit": "files", "note": "n"}))
print(json.dumps({"kind": "warning", "values": {"message": "careful"}}))
print('{"name": "a record"}')
print("[1, 2")
"""
    monkeypatch.setattr(own_command, "_PROGRAM", ("-c", program))
    heard = Heard()
    assert call_command(["x"], events=heard) == ["a line", '{"name": "a record"}', "[1, 2"]
    assert heard.progressed == [(1, 2, "files", "n")]
    assert heard.warnings == ["careful"]


def test_its_error_is_raised_here() -> None:
    with pytest.raises(SourceError, match="'tiny:x' names no seed") as caught:
        call_command(["models", "fetch", "tiny:x"], events=Heard())
    assert caught.value.hint == "Write a whole number: tiny:0."


def test_an_end_without_words_is_told_with_the_last_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        own_command, "_PROGRAM", ("-c", "import sys; print('last words', file=sys.stderr); sys.exit(9)")
    )
    with pytest.raises(ProcedureError, match="`spiritsafe models list` ended with exit code 9: last words"):
        call_command(["models", "list"], events=Heard())


def test_it_runs_this_program() -> None:
    assert Path(sys.executable).exists()
    assert "0.1" in call_command(["--version"], events=Heard())[-1]
