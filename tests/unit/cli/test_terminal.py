from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from spiritsafe.cli.terminal import JsonSink, TerminalSink, open_sink


def test_without_a_terminal_progress_is_plain_and_rare() -> None:
    out = io.StringIO()
    sink = TerminalSink(Console(file=out, width=100))
    sink.begin("teach")
    for step in range(1000):
        sink.progress(step, 1000, "steps")
    sink.end("finished")
    sink.skip("exam", "kept")
    assert len(out.getvalue().splitlines()) == 2
    assert "finished" in out.getvalue()
    assert "done before" in out.getvalue()


def test_on_a_terminal_a_bar_comes_and_goes() -> None:
    out = io.StringIO()
    sink = TerminalSink(Console(file=out, force_terminal=True, width=100))
    sink.begin("teach")
    sink.progress(1, 2, "steps", "loss 0.5")
    sink.end("finished")
    assert "finished" in out.getvalue()


def test_warnings_are_shown() -> None:
    out = io.StringIO()
    TerminalSink(Console(file=out)).metrics("warning", {"message": "look here"})
    assert "look here" in out.getvalue()


def test_another_process_reads_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SPIRITSAFE_PROGRESS", "json")
    sink = open_sink()
    assert isinstance(sink, JsonSink)
    sink.begin("x")
    sink.progress(1, None, "problems")
    sink.metrics("note", {"a": 1})
    sink.end()
    kinds = [json.loads(line)["kind"] for line in capsys.readouterr().out.splitlines()]
    assert kinds == ["progress", "note"]
    monkeypatch.delenv("SPIRITSAFE_PROGRESS")
    assert isinstance(open_sink(), TerminalSink)


class Closed(io.StringIO):
    """A screen whose reader went away."""

    def __init__(self, error: type[OSError]) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize("error", [BrokenPipeError, OSError])
def test_work_goes_on_when_nobody_looks_any_more(error: type[OSError], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiritsafe.cli.terminal._PLAIN_EVERY_S", -1.0)
    sink = TerminalSink(Console(file=Closed(error)))
    sink.begin("teach")
    sink.progress(1, 2, "steps")
    sink.metrics("warning", {"message": "look here"})
    sink.end("finished")
    sink.skip("exam", "kept")
