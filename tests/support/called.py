"""A command called in this process."""

from __future__ import annotations

from typing import Any

from click.testing import CliRunner


def call(command: Any, *arguments: str) -> str:
    """What it prints, where it ends well; an error of ours is raised as it is."""
    done = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return str(done.output)
