"""How each test went, told line by line, so that what is known survives a crash.

In: pytest's own calls. Out: ``{"begin": name}``, then ``{"test": name, "outcome": …, "why": …}``; all cases of a
parametrised test have its name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Sequence
from typing import Any

import pytest

_WORDS = 300
_ENDS = "it asks for the end: "


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


class _Left(Exception):
    """A test asked for the end of everything."""


def _kept_in() -> Generator[None, Any, Any]:
    """A phase of a test that cannot end the session."""
    try:
        return (yield)
    except (KeyboardInterrupt, GeneratorExit, pytest.exit.Exception) as error:
        raise _Left(said(error)) from None


class ItemOutcomes:
    """A plugin that makes reports without looking at anybody's frames, and lets no test end the session."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, str, str]] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Generator[None, Any, Any]:
        """Around a test's fixtures."""
        return (yield from _kept_in())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None, Any, Any]:
        """Around the test."""
        return (yield from _kept_in())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self) -> Generator[None, Any, Any]:
        """Around the ends of its fixtures."""
        return (yield from _kept_in())

    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> pytest.TestReport | None:
        """Of one phase of a test."""
        if call.when == "collect":
            return None
        error = call.excinfo.value if call.excinfo is not None else None
        if error is None:
            return pytest.TestReport(item.nodeid, item.location, {}, "passed", None, call.when)
        if isinstance(error, pytest.skip.Exception):
            return pytest.TestReport(item.nodeid, item.location, {}, "skipped", ("", 0, said(error)), call.when)
        why = f"{_ENDS}{error}" if isinstance(error, _Left) else said(error)
        why = f"{_ENDS}{why}" if isinstance(error, SystemExit) else why
        return pytest.TestReport(item.nodeid, item.location, {}, "failed", why, call.when)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep it."""
        told = report.longrepr
        why = told[2] if isinstance(told, tuple) else str(told or "")
        self.phases.append((report.when or "", report.outcome, why))


def run_items(items: Sequence[pytest.Item], plugin: ItemOutcomes, report: Report) -> int:
    """Run tests one after the other; how many there were."""
    for place, item in enumerate(items):
        name = report.now = told_name(item)
        report.say({"begin": name})
        plugin.phases = []
        later = items[place + 1] if place + 1 < len(items) else None
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=later)
        except BaseException as error:  # noqa: BLE001  whatever a test raises is how it went
            plugin.phases.append(("", "failed", f"{_ENDS}{said(error)}"))
        outcome, why = _summary(plugin.phases)
        report.say({"test": name, "outcome": outcome, "why": why})
    return len(items)


def _summary(phases: list[tuple[str, str, str]]) -> tuple[str, str]:
    """Of all phases: a test has passed only if it ran, and nothing failed."""
    for wanted in ("failed", "skipped"):
        for _, outcome, why in phases:
            if outcome == wanted:
                return ("exited" if why.startswith(_ENDS) else outcome), why.removeprefix(_ENDS)
    has_run = ("call", "passed") in [phase[:2] for phase in phases]
    return ("passed", "") if has_run else ("failed", "it did not run")
