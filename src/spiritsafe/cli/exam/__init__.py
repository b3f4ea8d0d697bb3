"""``spiritsafe exam …``: Seal, register, sit, verify and re-run exams.

One file a group of commands; a new command is a function in one of them, or in a file of its own.
"""

from __future__ import annotations

import importlib
import pkgutil

import click

from spiritsafe.cli.paths import GuardedGroup

__all__ = ["command"]


@click.group(name="exam", cls=GuardedGroup)
def command() -> None:
    """Seal, register, sit, verify and re-run exams."""


for _file in pkgutil.iter_modules(__path__):
    for _one in vars(importlib.import_module(f"{__name__}.{_file.name}")).values():
        if isinstance(_one, click.Command):
            command.add_command(_one)
