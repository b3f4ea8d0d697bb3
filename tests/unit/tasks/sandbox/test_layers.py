from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sandboxes import every_layer, sandbox_of

from spiritsafe.tasks.sandbox import landlock, layers, namespaces
from spiritsafe.tasks.sandbox.box import BoxLost
from spiritsafe.tasks.sandbox.inside import kernel
from spiritsafe.tasks.sandbox.job import Run, RunResult, RunStepResult
from spiritsafe.tasks.sandbox.layers import SandboxMissingError
from spiritsafe.tasks.sandbox.sandbox import Sandbox


@pytest.fixture(autouse=True)
def nothing_is_known_yet() -> Iterator[None]:
    layers.why_no_layer.cache_clear()
    yield
    layers.why_no_layer.cache_clear()


class FakeBox:
    """Says of a run what it is told to say."""

    def __init__(self, step: RunStepResult) -> None:
        self.step, self.is_closed = step, False

    def run(self, runs: list[Run]) -> list[RunResult]:
        return [RunResult(steps=(self.step,), stop=None, files={}, layer="fake")]

    def close(self) -> None:
        self.is_closed = True


def hide_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "find_tool", lambda name: None)
    monkeypatch.setattr(kernel, "landlock_version", lambda: 0)


def test_without_tools_nothing_runs_and_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*arguments: Any, **options: Any) -> None:
        pytest.fail("something was started")

    hide_tools(monkeypatch)
    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(os, "fork", start)
    with pytest.raises(SandboxMissingError) as caught:
        Sandbox()
    assert "namespaces: bubblewrap is not installed" in str(caught.value)
    assert "landlock: this kernel has no Landlock" in str(caught.value)
    assert "apt-get install bubblewrap" in str(caught.value.hint)


@pytest.mark.parametrize(("missing", "found"), [("namespaces", "landlock"), ("landlock", "namespaces")])
def test_what_is_missing_is_made_up_for_by_the_other(missing: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox_of(found)
    monkeypatch.setattr({"namespaces": namespaces, "landlock": landlock}[missing], "why_not", lambda: "missing")
    layers.why_no_layer.cache_clear()
    assert layers.strongest_layer() == found
    assert layers.why_no_layer(missing) == "missing"


def test_the_strongest_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert layers.SANDBOX_LAYERS == ("namespaces", "landlock")
    monkeypatch.setattr(layers, "why_no_layer", lambda name: None)
    assert layers.strongest_layer() == "namespaces"


def test_a_bubblewrap_that_is_not_allowed_to_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert layers.why_no_layer("namespaces") == "the sandbox ended: bwrap: No permissions to create new namespace"


@every_layer
@pytest.mark.parametrize(("refusals", "is_there"), [(2, True), (3, False)])
def test_a_machine_that_is_busy_for_a_moment_has_it(
    layer: str, refusals: int, is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = layers._module(layer)
    said = RunStepResult(code=0, out=b"behind walls\n")
    asked: list[int] = []

    def opened(slot: int) -> FakeBox:
        asked.append(slot)
        if len(asked) <= refusals:
            raise BoxLost("no process can be had")
        return FakeBox(said)

    monkeypatch.setattr(module, "why_not", lambda: None)
    monkeypatch.setattr(module, "open_box", opened)
    assert (layers.why_no_layer(layer) is None) == is_there
    assert len(asked) == 3
    assert (layers.why_no_layer(layer) is None) == is_there
    assert len(asked) == 3  # what was found is kept


def test_elsewhere_than_on_linux_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert {layers.why_no_layer(name) for name in layers.SANDBOX_LAYERS} == {"only Linux has it"}


@every_layer
@pytest.mark.parametrize(
    ("step", "why"),
    [
        (RunStepResult(code=0, out=b"behind walls\n"), None),
        (RunStepResult(code=0, out=b"something else\n", err=b"why"), "a program said 'why'"),
        (RunStepResult(code=None), "a program said ''"),
    ],
)
def test_a_layer_counts_only_if_a_program_ran_in_it(
    layer: str, step: RunStepResult, why: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = FakeBox(step)
    module = layers._module(layer)
    monkeypatch.setattr(module, "why_not", lambda: None)
    monkeypatch.setattr(module, "open_box", lambda slot: box)
    assert layers.why_no_layer(layer) == why
    assert box.is_closed


@every_layer
def test_a_box_that_is_lost_when_it_is_tried_is_closed(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: FakeBox, runs: list[Run]) -> list[RunResult]:
        raise BoxLost("gone")

    box = FakeBox(RunStepResult())
    module = layers._module(layer)
    monkeypatch.setattr(FakeBox, "run", fails)
    monkeypatch.setattr(module, "why_not", lambda: None)
    monkeypatch.setattr(module, "open_box", lambda slot: box)
    assert layers.why_no_layer(layer) == "gone"
    assert box.is_closed


def test_a_layer_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(namespaces, "why_not", lambda: asked.append(1) or "no")
    assert [layers.why_no_layer("namespaces") for _ in range(3)] == ["no"] * 3
    assert asked == [1]
