"""How the exam's commands print: one line stays one line, whoever wrote what is in it.

Names, hypotheses, reasons, tasks and statements come out of records that another party wrote, so every line of
``cli/exam*.py`` goes through here. Nothing reads markup. Exercised by ``pytest tests/unit/cli/test_say.py``.
"""

from __future__ import annotations

import click

from spiritsafe.core.printing import one_line

__all__ = ["say", "say_result"]


def say(text: str) -> None:
    """A line for people, on stderr."""
    click.echo(one_line(text), err=True)


def say_result(text: str) -> None:
    """A line that was asked for, on stdout."""
    click.echo(one_line(text))
