"""``spiritsafe exam …``: one file a group of commands."""

from __future__ import annotations

from spiritsafe.cli.exam.main import command

__all__ = ["command"]
