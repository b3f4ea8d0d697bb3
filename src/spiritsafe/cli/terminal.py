"""Live progress in the terminal: one bar for the step that runs, one line for each that is done.

Without a terminal (a pipe, CI) a plain line is printed at most every ten seconds.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, final

import click

from spiritsafe.core.canonical import JSON
from spiritsafe.core.text.safe_text import one_line

if TYPE_CHECKING:  # Rich is loaded with the first sink: most commands only say a few lines
    from rich.console import Console
    from rich.progress import Progress, TaskID

_PLAIN_EVERY_S = 10.0


@contextmanager
def _whatever_becomes_of_the_screen() -> Iterator[None]:
    with suppress(OSError, SystemExit):  # a closed pipe or terminal; Rich exits at the first
        yield


@final
class SilentSink:
    """A watcher that says nothing, for a process beside the one that speaks."""

    def begin(self, label: str) -> None:
        """A step starts."""

    def end(self, summary: str | None = None) -> None:
        """The step is over."""

    def skip(self, label: str, summary: str) -> None:
        """A step that was done before."""

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        """How far it is."""

    def metrics(self, kind: str, values: dict[str, JSON]) -> None:
        """What was measured."""


@final
class TerminalSink:
    """An EventSink that draws. Work goes on when nobody looks any more: nothing is raised."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self.console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._label = ""
        self._started = self._last_plain = time.monotonic()

    @_whatever_becomes_of_the_screen()
    def begin(self, label: str) -> None:
        """A step starts."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self.end()
        self._label = label
        self._started = self._last_plain = time.monotonic()
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[count]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(compact=True),
                console=self.console,
                transient=True,
            )
            self._task = self._bar.add_task(label, total=None, count="")
            self._bar.start()

    @_whatever_becomes_of_the_screen()
    def end(self, summary: str | None = None) -> None:
        """The step is over; ``summary`` becomes its line."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None
        if summary is not None:
            self.console.print(
                f"[green]✓[/green] {self._label:<24} {summary} [dim]({time.monotonic() - self._started:.1f} s)[/dim]",
                highlight=False,
                soft_wrap=True,
            )

    @_whatever_becomes_of_the_screen()
    def skip(self, label: str, summary: str) -> None:
        """A step that an earlier run finished."""
        self.console.print(f"[dim]· {label:<24} {summary} (done before)[/dim]", highlight=False, soft_wrap=True)

    @_whatever_becomes_of_the_screen()
    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        """Redraw the bar, or print a plain line now and then."""
        count = f"{done:,.0f}/{total:,.0f} {unit}" if total else f"{done:,.0f} {unit}"
        count = f"{count}  {_plain(note)}" if note else count
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, count=count)
        elif time.monotonic() - self._last_plain > _PLAIN_EVERY_S:
            self._last_plain = time.monotonic()
            label = f"{self._label}: " if self._label else ""
            self.console.print(f"  {label}{count}", highlight=False, soft_wrap=True)

    @_whatever_becomes_of_the_screen()
    def metrics(self, kind: str, values: dict[str, JSON]) -> None:
        """Metrics are for the log; warnings are for people."""
        if kind == "warning":
            self.console.print(
                f"[yellow]![/yellow] {_plain(str(values.get('message')))}", highlight=False, soft_wrap=True
            )


def _plain(text: str) -> str:
    """One line, its markup taken literally."""
    from rich.markup import escape

    return escape(one_line(text))


@final
class JsonSink:
    """An EventSink that writes JSON lines for the process that started this one."""

    def begin(self, label: str) -> None:
        """Steps are the parent's affair."""

    def end(self, summary: str | None = None) -> None:
        """Steps are the parent's affair."""

    def skip(self, label: str, summary: str) -> None:
        """Steps are the parent's affair."""

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        """One line."""
        self._write({"kind": "progress", "done": done, "total": total, "unit": unit, "note": note})

    def metrics(self, kind: str, values: dict[str, JSON]) -> None:
        """One line."""
        self._write({"kind": kind, "values": values})

    @staticmethod
    def _write(value: dict[str, JSON]) -> None:
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()


def open_sink() -> TerminalSink | JsonSink:
    """JSON lines when another spiritsafe process is the reader, the terminal otherwise."""
    return JsonSink() if os.environ.get("SPIRITSAFE_PROGRESS") == "json" else TerminalSink()


def print_note(text: str) -> None:
    """A line for people, on stderr."""
    click.echo(one_line(text), err=True)


def print_result(text: str) -> None:
    """A line that was asked for, on stdout."""
    click.echo(one_line(text))
