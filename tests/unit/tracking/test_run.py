from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from finished_run import SilentWatcher
from tracked_parts import logged
from tracked_program import SITTINGS

from spiritsafe.core.events import EventLog, EventSink
from spiritsafe.models import default_cache
from spiritsafe.pipeline import load_recipe, run_recipe
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.run import run
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.step import StageSpec
from spiritsafe.tracking import registry
from spiritsafe.tracking.registry import Points, TrackedRun, Tracker, register_tracker, tracker_names
from spiritsafe.tracking.run import Tracking


class OwnTracker(Tracker):
    """A stranger's, which keeps what it gets."""

    runs: ClassVar[list[OwnTracker]] = []

    def __init__(self, run: TrackedRun) -> None:
        self.run, self.points, self.is_closed = run, list[Points](), False
        self.runs.append(self)

    def log(self, points: Sequence[Points]) -> None:
        self.points += points

    def close(self) -> None:
        self.is_closed = True


class Failing(OwnTracker):
    fault: BaseException = OSError("no space left for https://me:hunter22@host.example/x with abcd-efgh-key")
    at = "log"

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        if self.at == "open":
            raise self.fault

    def log(self, points: Sequence[Points]) -> None:
        super().log(points)
        if self.at == "log":
            raise self.fault

    def close(self) -> None:
        if self.at == "close":
            raise self.fault


class Stuck(OwnTracker):
    released: threading.Event

    def log(self, points: Sequence[Points]) -> None:
        self.released.wait()


class Watcher(SilentWatcher):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, dict[str, Any]]] = []

    def metrics(self, kind: str, values: dict[str, Any]) -> None:
        self.heard.append((kind, values))


@pytest.fixture(autouse=True)
def _own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    tracker_names()  # those of the house register once
    monkeypatch.setattr(registry, "_TRACKERS", dict(registry._TRACKERS))
    monkeypatch.setattr(OwnTracker, "runs", [])
    monkeypatch.setattr(Stuck, "released", threading.Event(), raising=False)
    for name, tracker in {"own": OwnTracker, "failing": Failing, "stuck": Stuck}.items():
        register_tracker(name, "json")(tracker)
    yield
    Stuck.released.set()


def a_run(folder: Path, watcher: EventSink, *names: str, close_s: float = 600.0) -> Path:
    """Events of the first sitting, told to some trackers; returns the event log."""
    log = folder / "events.jsonl"
    told = TrackedRun(name="r-1", id="1", project="p", directory=folder)
    with Tracking(names, told, log=EventLog(log, stage="run"), watcher=watcher, close_s=close_s) as tracking:
        for stage, kind, values in SITTINGS[0]:
            EventLog(log, stage=stage, forward=tracking.heard(stage, watcher)).metrics(kind, values)
    return log


def points_of(tracker: OwnTracker) -> list[tuple[str, int, float]]:
    return sorted((name, one.step, value) for one in tracker.points for name, value in one.values.items())


def warnings_of(log: Path) -> list[str]:
    events = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    return [event["message"] for event in events if event["kind"] == "warning"]


@pytest.mark.parametrize("at", ["open", "log", "close"])
@pytest.mark.parametrize("fault", [Failing.fault, SystemExit(3)])
def test_a_fault_ends_one_tracker_with_one_warning_and_keeps_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, fault: BaseException
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "abcd-efgh-key")
    monkeypatch.setattr(Failing, "at", at)
    monkeypatch.setattr(Failing, "fault", fault)
    watcher = Watcher()
    log = a_run(tmp_path, watcher, "failing", "own")
    (own,) = [tracker for tracker in OwnTracker.runs if type(tracker) is OwnTracker]
    assert points_of(own) == logged(log)
    assert own.is_closed
    assert [type(fault).__name__ in said for said in warnings_of(log)] == [True]
    (shown,) = [str(values["message"]) for kind, values in watcher.heard if kind == "warning"]
    assert "hunter22" not in (told := log.read_text("utf-8") + shown)
    assert "abcd-efgh-key" not in told
    assert isinstance(fault, SystemExit) or "no space left for https://***@host.example/x with ***" in shown


def test_a_tracker_that_never_returns_holds_nobody_up(tmp_path: Path) -> None:
    watcher = Watcher()
    log = a_run(tmp_path, watcher, "stuck", close_s=0.01)
    assert len(watcher.heard) == len(SITTINGS[0]) + 1
    assert ["stuck" in said for said in warnings_of(log)] == [True]


def test_a_tracker_that_falls_far_behind_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiritsafe.tracking.run._MOST_WAITING", 1)
    log = a_run(tmp_path, Watcher(), "stuck", close_s=0.01)
    assert ["too slow" in said for said in warnings_of(log)] == [True]


def test_a_strangers_tracker_hears_a_run_and_changes_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, Any]:
        for _, kind, values in SITTINGS[0]:
            events.metrics(kind, values)
        return {"summary": "told"}

    def stages(recipe: object) -> list[StageSpec]:
        return [StageSpec(name="stage-of-mine", work=work, settings={}, is_exact=True)]

    monkeypatch.setattr(run, "stages_of", stages)
    monkeypatch.setattr(run, "model_directory", lambda context, name: tmp_path)
    plain, text = load_recipe("tiny")
    tracked, _ = load_recipe("tiny", ('track.trackers=["own"]', "track.project=mine"))
    assert tracked.resolved() == plain.resolved()
    watcher = Watcher()
    outcome = run_recipe(tracked, text, root=tmp_path, cache=default_cache(), watcher=watcher)
    (own,) = OwnTracker.runs
    assert points_of(own) == logged(outcome.directory / "events.jsonl")
    assert {name.partition("/")[0] for name, _, _ in points_of(own)} == {"stage-of-mine"}
    assert (own.run.name, own.run.project) == (outcome.directory.name, "mine")
    assert outcome.directory.name.endswith(own.run.id[:12])
    again = run_recipe(plain, text, root=tmp_path, cache=default_cache(), watcher=watcher)
    assert (again.num_run, again.directory) == (0, outcome.directory)
