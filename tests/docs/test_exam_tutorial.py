"""The exam tutorial runs as it stands on its page, and prints what the page shows."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from places import ROOT

PAGE = ROOT / "docs" / "exam-tutorial.md"
PORT = "8017"
MASKS = (
    (r"sha256:[0-9a-f]{8,64}…?", "sha256:…"),
    (r"\b(?:[0-9a-f]{16}){1,2}\b", "…"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "TIME"),
    (r"(spiritsafe/witness/\S*?)\+\S+", r"\1+…"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
)


def blocks() -> list[tuple[str, str]]:
    """Language and text of each fenced block, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text("utf-8"), flags=re.M | re.S)


def masked(text: str) -> str:
    for pattern, shown in MASKS:
        text = re.sub(pattern, shown, text)
    return text.strip("\n")


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where the page is followed; its server is ended whatever happens."""
    yield tmp_path
    pid = tmp_path / "maker" / "adder.pid"
    if pid.exists():
        with suppress(ProcessLookupError):
            os.kill(int(pid.read_text()), signal.SIGKILL)


def run(block: str, place: Path, number: int) -> str:
    """What a block prints, on either channel; its last command must succeed."""
    commands = place / "commands"  # `spiritsafe` and `python3` of this very environment
    if not commands.exists():
        commands.mkdir()
        for name, start in (("spiritsafe", "-m spiritsafe"), ("python3", "")):
            (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {start} "$@"\n')
            (commands / name).chmod(0o755)
    said = place / f"said-{number}"
    with said.open("wb") as file:  # a pipe would be held open by the server
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", block],
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"},
            timeout=120,
        )
    text = said.read_text("utf-8")
    assert done.returncode == 0, text
    return text


@pytest.mark.slow
def test_the_page_runs_and_prints_what_it_shows(place: Path) -> None:
    port, found, last = free_port(), blocks(), ""
    compared = 0
    for number, (kind, text) in enumerate(found):
        if kind == "python":
            (place / "maker" / "adder.py").write_text(text)
        elif kind == "sh":
            last = run(text.replace(PORT, port), place, number)
        else:
            assert kind == "text"
            assert masked(last) == masked(text), f"block {number}"
            compared += 1
    assert compared >= 8
    assert (place / "trust.html").read_text("utf-8").startswith("<!doctype html>")


def test_masks_hide_what_differs_and_nothing_else() -> None:
    line = "14. ok      ending: complete: 200 of 200 problems asked; no budget was registered"
    assert masked(line) == line
    assert masked("key 17dd80612a9403f117dd80612a9403f1") == "key …"
    assert masked("key 17dd80612a9403f1 at 2026-11-24T00:35:32.349Z") == "key … at TIME"
