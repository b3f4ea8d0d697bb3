"""Pages that are made from the code are what the code makes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import click
import pytest
from places import ROOT


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATE = load()
PAGES = GENERATE.pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_what_the_code_says(page: Path) -> None:
    assert page.read_text("utf-8") == PAGES[page], "run `just fix`"


def test_another_page_is_named_and_mended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(GENERATE, "ROOT", tmp_path)
    monkeypatch.setattr(GENERATE, "pages", lambda: {page: "new\n"})
    monkeypatch.setattr("sys.argv", ["generate.py", "--check"])
    page.write_text("old\n")
    with pytest.raises(SystemExit, match=r"page\.md"):
        GENERATE.main()
    assert page.read_text() == "old\n"
    monkeypatch.setattr("sys.argv", ["generate.py"])
    GENERATE.main()
    assert page.read_text() == "new\n"
    monkeypatch.setattr("sys.argv", ["generate.py", "--check"])
    GENERATE.main()


def test_a_new_command_stands_on_the_page_whatever_the_terminals_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")

    @click.command("pour")
    @click.argument("cask", nargs=-1, required=True)
    @click.option("--into", type=click.Choice(["glass", "jug"]), default="glass", show_default=True, help="Where to.")
    @click.option("--drops", type=click.IntRange(1, 9), multiple=True, help="How many | which.")
    @click.option("--fast", is_flag=True, help="At once.")
    def pour(cask: tuple[str, ...], into: str, drops: tuple[int, ...], fast: bool) -> None:
        """Pour CASK, a sentence that is longer than the terminal is wide,
        and goes on."""

    group = click.Group("distillery", commands={"pour": pour})
    assert "\n".join(GENERATE._commands(group, ["distillery"])) == (
        "\n## `distillery pour`\n\n"
        "Pour CASK, a sentence that is longer than the terminal is wide, and goes on.\n"
        "\n```text\ndistillery pour [OPTIONS] CASK...\n```\n"
        "\n| option | value | what it says |\n|---|---|---|\n"
        "| `--into` | `glass \\| jug` | Where to. (default `glass`) |\n"
        "| `--drops` | `INTEGER 1 to 9` | How many \\| which. (may be repeated) |\n"
        "| `--fast` |  | At once. |"
    )


def test_every_public_name_stands_on_its_page() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text("utf-8")
    import spiritsafe.exam
    import spiritsafe.tasks

    for name in [*spiritsafe.exam.__all__, *spiritsafe.tasks.__all__]:
        assert f"| `{name}` |" in page
    said = [line for line in page.splitlines() if line.startswith("| `")]
    assert [line for line in said if line.endswith("|  |")] == [], "say what it is: a docstring, a string below it"
