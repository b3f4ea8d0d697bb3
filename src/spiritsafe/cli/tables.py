"""What a command prints as a table, as JSON: one record a line in canonical form, and nothing else on stdout.

A command that prints a table takes ``--json`` (:data:`json_option`), and then gives the records behind it to
:func:`print_json` instead of drawing them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
from pydantic_core import to_jsonable_python

from spiritsafe.core.canonical import canonical_json

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
