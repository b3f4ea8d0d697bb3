"""How each test went, told line by line, so that what is known survives a crash.

In: pytest's own calls. Out: ``{"begin": name}``, then ``{"test": name, "outcome": …, "why": …}``; all cases of a
parametrised test have its name.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

_WORDS = 300


class Report:
    """Writes lines to a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._write, self._descriptor, self._encode, self._exit = os.write, descriptor, json.dumps, os._exit
        self.now = ""

    def say(self, message: dict[str, Any]) -> None:
        """One line."""
        line = self._encode(message).encode("ascii") + b"\n"
        while line:
            line = line[self._write(self._descriptor, line) :]

    def leave(self) -> None:
        """End this process."""
        self._exit(0)


def said(error: BaseException) -> str:
    """An error in one line."""
    try:
        words = " ".join(str(error).split())
    except Exception:  # noqa: BLE001  it may be of a test's own kind
        words = ""
    kind = "assertion" if isinstance(error, AssertionError) else type(error).__name__
    return f"{kind}: {words}"[:_WORDS] if words else kind


def told_name(item: pytest.Item) -> str:
    """``test_it`` or ``TestIt.test_it``."""
    own = getattr(item, "originalname", None) or item.name
    classes = [part.name for part in item.listchain() if isinstance(part, pytest.Class)]
    return ".".join([*classes, own])


class Outcomes:
    """A plugin that makes reports without looking at anybody's frames."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, str]] = []

    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> pytest.TestReport:
        """Of one phase of a test."""
        outcome, told = "passed", None
        if call.excinfo is not None:
            error = call.excinfo.value
            if isinstance(error, pytest.skip.Exception):
                outcome, told = "skipped", ("", 0, said(error))
            else:
                outcome, told = "failed", ("exited: " if _leaves(error) else "") + said(error)
        return pytest.TestReport(
            item.nodeid,
            item.location,
            {},
            outcome,
            told,
            call.when,
        )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep it."""
        told = report.longrepr
        self.phases.append((report.outcome, told[2] if isinstance(told, tuple) else str(told or "")))


def _leaves(error: BaseException) -> bool:
    return isinstance(error, SystemExit | KeyboardInterrupt | GeneratorExit)


def run_items(items: list[pytest.Item], plugin: Outcomes, report: Report) -> int:
    """Run tests one after the other; how many there were."""
    for item, later in zip(items, [*items[1:], None], strict=True):
        name = report.now = told_name(item)
        report.say({"begin": name})
        plugin.phases = []
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=later)
        except BaseException as error:  # noqa: BLE001  whatever a test raises is how it went
            plugin.phases.append(("failed", f"exited: {said(error)}"))
        outcome, why = _summary(plugin.phases)
        report.say({"test": name, "outcome": outcome, "why": why})
    return len(items)


def _summary(phases: list[tuple[str, str]]) -> tuple[str, str]:
    bad = [why for outcome, why in phases if outcome == "failed"]
    if bad:
        return ("exited" if bad[0].startswith("exited: ") else "failed"), bad[0].removeprefix("exited: ")
    skipped = [why for outcome, why in phases if outcome == "skipped"]
    return ("skipped", skipped[0]) if skipped else ("passed", "")
