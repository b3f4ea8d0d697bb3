"""Every command that README and docs show exists, with the options they show."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from places import ROOT

from spiritsafe.cli import cli

ROUTED = ("attempts/small", "attempts/large")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands_in(text: str) -> list[list[str]]:
    found = []
    for block in re.findall(r"```sh\n(.*?)```", text, flags=re.S):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            words = words[: words.index(">")] if ">" in words else words  # where its output goes
            if words[:1] == ["spiritsafe"]:
                found.append(words[1:])
    return found


COMMANDS = [(page.name, words) for page in PAGES for words in commands_in(page.read_text("utf-8"))]


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[f"{page}: {' '.join(w)[:60]}" for page, w in COMMANDS])
def test_the_command_parses(page: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for word in words:  # arguments that must exist are made, so that only the command itself is judged
        if word.endswith(
            (".json", ".jsonl", ".py", ".age", ".eval", ".pem", ".sqlite", "keys.toml")
        ) and not word.startswith("-"):
            (tmp_path / word).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / word).touch()
    for folder in (
        "paper",
        "examiner/paper",
        "runs/quickstart-…",
        "runs/my-run-0123456789ab",
        "sums-small",
        "solver",
        *ROUTED,
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    context = click.Context(cli)
    command = cli.get_command(context, words[0])
    assert command is not None, f"{page} names a command that does not exist"
    rest = words[1:]
    if isinstance(command, click.Group):
        name = rest[0] if rest[0] in command.commands else command.default  # `release RUN` is `release make RUN`
        command, rest = command.commands[name], rest[rest[0] == name :]
    command.make_context(words[0], list(rest), resilient_parsing=False)


def test_the_pages_show_commands() -> None:
    assert len(COMMANDS) >= 10


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
