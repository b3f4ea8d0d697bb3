"""What a command costs before it does anything: CPU-seconds of its help, of completing a line, of a verification.

Each command runs in processes of its own, with compiled files on disk; the first run is not counted.

python bench/startup.py --out bench/results/startup-cpu.json [--before ../older/src]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from machine import describe_machine
from spiritsafe.cli import cli

ROOT = Path(__file__).resolve().parent.parent
LADDER = ROOT / "experiments" / "ladder"
VERIFY = ["exam", "verify", str(LADDER / "kl-50-1.certificate.json"), "--paper", str(LADDER / "paper.json")]

PROGRAM = "import sys; sys.argv[0] = 'spiritsafe'; from spiritsafe.cli import main; main()"


def _helps(group: click.Group, *path: str) -> Iterator[list[str]]:
    yield [*path, "--help"]
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from _helps(command, *path, name)
        else:
            yield [*path, name, "--help"]


def _seconds(arguments: list[str], source: Path, environment: dict[str, str], rounds: int) -> dict[str, float]:
    """CPU-seconds, user and system, of the command and of what it starts."""
    env = {**os.environ, "PYTHONPATH": str(source), **environment}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    found = []
    for _ in range(rounds + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", PROGRAM, *arguments], env=env, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"best": round(min(found[1:]), 3), "median": round(statistics.median(found[1:]), 3)}


def main() -> None:
    """Time every command; one at a time, the trees in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--before", type=Path, help="The `src` of an earlier tree, to compare with.")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    trees = {"now": ROOT / "src", **({"before": options.before.resolve()} if options.before else {})}
    completion = {"_SPIRITSAFE_COMPLETE": "bash_complete", "COMP_WORDS": "spiritsafe exam verify --", "COMP_CWORD": "3"}
    cases: dict[str, tuple[list[str], dict[str, str]]] = {" ".join(words): (words, {}) for words in _helps(cli)}
    cases["exam verify CERTIFICATE --paper PAPER"] = (VERIFY, {})
    cases["models list"] = (["models", "list"], {"SPIRITSAFE_CACHE": "/nowhere"})
    cases["<Tab> behind `exam verify --`"] = ([], completion)
    result: dict[str, Any] = {"machine": describe_machine("click", "pydantic", "numpy", "scipy"), "cpu_seconds": {}}
    for case, (words, environment) in cases.items():
        times = {tree: _seconds(words, source, environment, options.rounds) for tree, source in trees.items()}
        result["cpu_seconds"][case] = times
        print(case, times, flush=True)
    result["load_average_at_the_end"] = os.getloadavg()
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
