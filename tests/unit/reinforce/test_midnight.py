"""The calendar turns while a model is at work whose template prints the date: nothing may change."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

import pytest
import templates_parts
import torch
import transformers.utils.chat_template_utils as transformers_chats

from spiritsafe.core.canonical import JSON
from spiritsafe.core.records import Problem, Sampling
from spiritsafe.distil import DistilObjective, LossMix
from spiritsafe.distil.cache import CachedTeacher, CaptureConfig, capture
from spiritsafe.models import Document, LoadedModel, load_model, resolve_source
from spiritsafe.reinforce import ReinforceConfig, reinforce
from spiritsafe.tasks import load_task
from spiritsafe.training import TracesObjective, TrainConfig, train

CONFIG = TrainConfig(
    learning_rate=1e-3,
    tokens_per_step=300,
    micro_batch_tokens=300,
    max_epochs=2,
    compute_dtype="float32",
    checkpoint_every_steps=1,
)


class Calendar:
    """What the machine's clock shows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shift = datetime.timedelta()
        calendar, real = self, time.time

        class Clock(datetime.datetime):
            @classmethod
            def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
                return datetime.datetime(2026, 11, 28, tzinfo=tz) + calendar.shift

        monkeypatch.setattr(transformers_chats, "datetime", Clock)
        monkeypatch.setattr(datetime, "datetime", Clock)
        monkeypatch.setattr(time, "time", lambda: real() + calendar.shift.total_seconds())

    def turn(self) -> None:
        """It is the next month."""
        self.shift += datetime.timedelta(days=40)


class Stop(Exception):
    """The machine goes down."""


class Watcher:
    """Does something after a step."""

    def __init__(self, step: int, calendar: Calendar | None = None) -> None:
        self._step, self._calendar = step, calendar

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        if self._calendar is None and done >= self._step:
            raise Stop

    def metrics(self, kind: str, row: dict[str, JSON]) -> None:
        if self._calendar is not None and kind == "train_step" and row["step"] == self._step:
            self._calendar.turn()


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch) -> Calendar:
    return Calendar(monkeypatch)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return resolve_source(str(templates_parts.dated(tmp_path / "dated")), cache=tmp_path / "cache")


def problems(count: int) -> list[Problem]:
    return list(load_task("arith:sums?terms=2&digits=1-2").problems("train", seed=1, count=count))


def opened(source: Path) -> tuple[LoadedModel, list[Document]]:
    loaded = load_model(source, dtype=torch.float32)
    return loaded, [loaded.chat.document(one.messages, str(one.solution)) for one in problems(6)]


def test_a_run_goes_on_and_a_cache_serves_the_next_day(source: Path, tmp_path: Path, calendar: Calendar) -> None:
    loaded, documents = opened(source)
    capture(loaded, documents, CaptureConfig(num_head=8, num_draws=4), tmp_path / "signals")
    with pytest.raises(Stop):
        train(loaded.model, documents, TracesObjective(), CONFIG, directory=tmp_path / "run", events=Watcher(2))
    calendar.turn()
    loaded, again = opened(source)
    assert again == documents
    train(loaded.model, again, TracesObjective(), CONFIG, directory=tmp_path / "run")
    chat = loaded.chat
    signal = CachedTeacher(
        tmp_path / "signals", tokenizer=chat.vocab_fingerprint, chat_template=chat.template_fingerprint
    )
    train(loaded.model, again, DistilObjective(signal, LossMix(forward_kl=1.0)), CONFIG, directory=tmp_path / "next")


def test_the_policy_answers_the_prompts_that_it_learns_from(source: Path, tmp_path: Path, calendar: Calendar) -> None:
    loaded, _ = opened(source)
    config = ReinforceConfig(
        prompts_per_round=2,
        group_size=2,
        num_rounds=3,
        refills=0,
        sampling=Sampling(temperature=1.0, max_tokens=8),
        loss={"method": "dapo"},
        reward={"kind": "random"},
    )
    trained = TrainConfig(
        learning_rate=1e-9,
        tokens_per_step=999,
        micro_batch_tokens=999,
        max_steps=3,
        compute_dtype="float32",
        checkpoint_every_s=None,
    )
    task = load_task("arith:sums?terms=2&digits=1-2")
    result = reinforce(
        loaded, task, problems(6), config, trained, directory=tmp_path / "run", events=Watcher(1, calendar)
    )
    gaps = [row["gap"] for row in result.training.curve if "gap" in row]
    assert gaps
    assert max(gaps) < 1e-4
