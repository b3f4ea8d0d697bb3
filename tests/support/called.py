"""A command called in this process."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner

from spiritsafe.core.canonical import canonical_json


def call(command: Any, *arguments: str) -> str:
    """What it prints, where it ends well; an error of ours is raised as it is."""
    done = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return str(done.output)


def records_of(command: Any, *arguments: str) -> list[dict[str, Any]]:
    """What a command prints as JSON, and that it is canonical and nothing else."""
    lines = CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False).stdout.splitlines()
    found = [json.loads(line) for line in lines]
    assert [canonical_json(each).decode() for each in found] == lines
    return found
