"""``spiritsafe serve …``: Serve models behind an OpenAI-compatible API, with keys, limits and certificates.

One file a command. What begins with none of their names is for ``run``: ``spiritsafe serve TARGET`` is
``spiritsafe serve run TARGET``.
"""

from __future__ import annotations

import importlib
import pkgutil

import click

from spiritsafe.cli.paths import GuardedGroup

__all__ = ["command"]


class _Group(GuardedGroup):
    default = "run"


@click.group(name="serve", cls=_Group)
def command() -> None:
    """Serve models, make keys for those who ask, and show what they used."""


for _file in pkgutil.iter_modules(__path__):
    for _one in vars(importlib.import_module(f"{__name__}.{_file.name}")).values():
        if isinstance(_one, click.Command):
            command.add_command(_one)
