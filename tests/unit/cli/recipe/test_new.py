from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from called import call
from click.testing import CliRunner

from spiritsafe.cli.recipe import new, plan
from spiritsafe.core.errors import RecipeError, SourceError

ROW = '{{"messages": [{{"role": "user", "content": "Hello {0}?"}}, {{"role": "assistant", "content": "Hi {0}."}}]}}\n'


@pytest.fixture
def chats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chats.jsonl").write_text("".join(ROW.format(n) for n in range(60)))
    return tmp_path


def test_new_writes_a_recipe_that_can_be_planned(chats: Path) -> None:
    text = call(new.command, "chats.jsonl", "--teacher", "tiny:0", "--student", "tiny:1")
    assert tomllib.loads(text)["steps"][0]["kind"] == "distil"
    said = call(new.command, "chats.jsonl", "--teacher", "tiny:0", "--student", "tiny:1", "--out", "my.toml")
    assert said == "", "nothing beside the file, and nothing to be mended"
    assert (chats / "my.toml").read_text("utf-8") == text
    assert "distil    student: from base" in call(plan.command, "my.toml")


def test_a_recipe_that_is_there_is_never_replaced(chats: Path) -> None:
    (chats / "my.toml").write_text('name = "mine"\n')
    with pytest.raises(RecipeError, match="would replace"):
        call(new.command, "chats.jsonl", "--teacher", "tiny:0", "--student", "tiny:1", "--out", "my.toml")
    with pytest.raises(RecipeError, match="would replace"):
        call(new.command, "chats.jsonl", "--teacher", "tiny:0", "--student", "tiny:1", "--out", "chats.jsonl")
    assert (chats / "my.toml").read_text() == 'name = "mine"\n'


def test_what_is_to_be_mended_is_told_beside_the_recipe(chats: Path) -> None:
    done = CliRunner().invoke(new.command, ["chats.jsonl", "--teacher", "tiny:0", "--student", "nosuch/folder/here"])
    assert done.exit_code == 0
    assert "To be mended: base: " in done.stderr
    assert tomllib.loads(done.stdout)["models"]["base"]["source"] == "nosuch/folder/here"


def test_teacher_and_student_are_asked_for_and_data_must_be_there(chats: Path) -> None:
    done = CliRunner().invoke(new.command, ["chats.jsonl", "--teacher", "tiny:0"])
    assert done.exit_code == 2
    assert "--student" in done.output
    with pytest.raises(SourceError, match=r"nosuch\.jsonl"):
        call(new.command, "nosuch.jsonl", "--teacher", "tiny:0", "--student", "tiny:1")
