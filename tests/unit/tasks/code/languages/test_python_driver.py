from __future__ import annotations

import io
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from spiritsafe.tasks.code.languages import python_driver


def drive(source: str, inputs: list[object], path: Path, monkeypatch: pytest.MonkeyPatch, kind: str = "int") -> str:
    given = {"mark": "MARK", "name": "f", "result": kind, "inputs": inputs}
    (path / "solution.py").write_text(source, "utf-8")
    monkeypatch.chdir(path)
    stdin = SimpleNamespace(buffer=io.BytesIO(json.dumps(given).encode("ascii")))
    monkeypatch.setattr(python_driver.sys, "stdin", stdin)
    said: list[bytes] = []

    def write(descriptor: int, data: bytes) -> int:  # a few bytes at a time, as pipes may
        assert descriptor == 1
        said.append(data[:5])
        return len(data[:5])

    monkeypatch.setattr(os, "write", write)
    python_driver.main()
    return b"".join(said).decode("ascii")


def test_it_says_a_line_for_each_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = drive("def f(x): return 12 // x", [[5], [0], [-5]], tmp_path, monkeypatch)
    expected = "MARK 0 2\nMARK 1 !crash ZeroDivisionError: integer division or modulo by zero\nMARK 2 -3\n"
    assert said == expected


def test_annotations_are_as_the_program_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = 'def f(x: int): return int(f.__annotations__["x"] is int)'
    assert drive(own, [[1]], tmp_path, monkeypatch) == "MARK 0 1\n"
    assert drive(f"from __future__ import annotations\n{own}", [[1]], tmp_path, monkeypatch) == "MARK 0 0\n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f(", "!compile SyntaxError"),
        ("x = '\0'", "!compile"),
        ("def g(): pass", "!compile it has no function f"),
        ("f = 3", "!compile it has no function f"),
        ("1 / 0", "!crash when it is loaded: ZeroDivisionError"),
        ("raise SystemExit", "!crash when it is loaded: SystemExit"),
    ],
)
def test_what_cannot_be_called_fails_for_every_input(
    source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = drive(source, [[], []], tmp_path, monkeypatch).splitlines()
    assert [line[: len(said) + 7] for line in lines] == [f"MARK 0 {said}", f"MARK 1 {said}"]
