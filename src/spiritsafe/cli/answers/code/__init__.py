"""``spiritsafe code …``: Write tests and explanations of your code, and prove them by running it.

One file a command, as in :mod:`spiritsafe.cli.exam`.
"""

from __future__ import annotations

import importlib
import pkgutil

import click

from spiritsafe.cli.paths import GuardedGroup

__all__ = ["command"]


@click.group(name="code", cls=GuardedGroup)
def command() -> None:
    """Write tests and explanations of your code, and prove them by running it."""


for _file in pkgutil.iter_modules(__path__):
    for _one in vars(importlib.import_module(f"{__name__}.{_file.name}")).values():
        if isinstance(_one, click.Command):
            command.add_command(_one)
