import json
from pathlib import Path
from typing import Any

import pytest

from spiritsafe.core.errors import StorageError
from spiritsafe.core.events import EventLog, EventSink, NullSink


class Watcher:
    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        self.heard.append(("progress", done, total, unit, note))

    def metrics(self, kind: str, values: dict[str, Any]) -> None:
        self.heard.append(("metrics", kind, values))


def test_metrics_are_kept_and_passed_on_progress_only_passed_on(tmp_path: Path) -> None:
    watcher = Watcher()
    log: EventSink = EventLog(tmp_path / "events.jsonl", stage="teach", forward=watcher)
    log.progress(1, None, "steps")
    log.metrics("step", {"loss": 0.5, "name": "é"})
    log.metrics("end", {})
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text("utf-8").splitlines()]
    assert [{k: v for k, v in line.items() if k != "time"} for line in lines] == [
        {"stage": "teach", "kind": "step", "loss": 0.5, "name": "é"},
        {"stage": "teach", "kind": "end"},
    ]
    assert lines[0]["time"] <= lines[1]["time"]
    assert watcher.heard == [
        ("progress", 1, None, "steps", ""),
        ("metrics", "step", {"loss": 0.5, "name": "é"}),
        ("metrics", "end", {}),
    ]


def test_alone_it_still_keeps(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", stage="s")
    log.progress(1, 2, "steps", "note")
    log.metrics("step", {"loss": 1})
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 1


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        EventLog(tmp_path / "no" / "events.jsonl", stage="s").metrics("step", {})


def test_the_null_sink_hears_nothing() -> None:
    sink: EventSink = NullSink()
    sink.progress(1, 2, "steps")
    sink.metrics("step", {})
