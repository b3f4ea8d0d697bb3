"""``spiritsafe release …``: Sign, verify and push releases.

One file a group of commands, as in :mod:`spiritsafe.cli.exam`. What begins with none of their names is for ``make``,
where there is one: ``spiritsafe release RUN`` is ``spiritsafe release make RUN``.
"""

from __future__ import annotations

import importlib
import pkgutil

import click

from spiritsafe.cli.paths import GuardedGroup

__all__ = ["command"]


class _Group(GuardedGroup):
    default = "make"


@click.group(name="release", cls=_Group)
def command() -> None:
    """Sign, verify and push releases."""


for _file in pkgutil.iter_modules(__path__):
    for _one in vars(importlib.import_module(f"{__name__}.{_file.name}")).values():
        if isinstance(_one, click.Command):
            command.add_command(_one)
