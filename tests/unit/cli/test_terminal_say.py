"""Lines for people: whatever stands in them, they stay one line, and every exam command prints through here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import spiritsafe.cli
from spiritsafe.cli.terminal import print_note, print_result

HOSTILE = "\x1b[2K\r\nok  all good\u202e\u2066 [bold red]x[/] \x9b"


def test_one_line_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_note(f"name: {HOSTILE}")
    print_result(HOSTILE)
    out, err = capsys.readouterr()
    for text in (out, err):
        assert text.count("\n") == 1
        assert not set("\x1b\r\u202e\u2066\x9b") & set(text)
        assert "[bold red]x[/]" in text  # markup is text
        assert "⟨U+001B⟩[2K" in text
    assert err.startswith("name: ")


def test_no_exam_command_prints_by_another_way() -> None:
    """A planted ``click.echo`` or ``print`` is found; the commands have none."""

    def found(source: str) -> list[str]:
        calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
        return [ast.unparse(call) for call in calls if ast.unparse(call).split(".")[-1] in ("echo", "secho", "print")]

    assert found("click.echo(name)\nprint(1)\nconsole.print(2)") == ["click.echo", "print", "console.print"]
    files = sorted(Path(spiritsafe.cli.__file__).parent.glob("exam/*.py"))
    assert len(files) >= 6
    assert {path.name: found(path.read_text("utf-8")) for path in files} == {path.name: [] for path in files}
