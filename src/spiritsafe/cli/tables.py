"""What a command prints as a table, as JSON: one record a line in canonical form, and nothing else on stdout.

A command that prints a table takes ``--json`` (:data:`json_option`), and then gives the records behind it to
:func:`print_json` instead of drawing them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click
from pydantic_core import to_jsonable_python

from spiritsafe.core.canonical import canonical_json

if TYPE_CHECKING:
    from spiritsafe.exam import StepResult

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the records behind it, one a line, as canonical JSON."
)
"""Gives the command ``as_json: bool``."""


def print_json(records: Iterable[Any]) -> None:
    """One line a record on stdout.

    Args:
        records: Records, dataclasses, or tables of such.

    Raises:
        IntegrityError: One holds a number that has no canonical form.
    """
    for record in records:
        click.echo(canonical_json(to_jsonable_python(record)).decode("utf-8"))


def step_line(step: StepResult) -> str:
    """A step of a verification, for people."""
    mark = ("ok     " if step.checked else "skipped") if step.ok else "FAILED "
    return f"{step.number:2d}. {mark} {step.name}: {step.detail}"


def step_records(steps: Iterable[StepResult]) -> list[dict[str, Any]]:
    """Steps of a verification, for programs."""
    fields = ("number", "name", "ok", "checked", "detail")
    return [{name: getattr(step, name) for name in fields} for step in steps]
