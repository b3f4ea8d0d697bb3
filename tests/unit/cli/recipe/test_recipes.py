from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from called import call
from click.testing import CliRunner

from spiritsafe.cli.recipe import recipes
from spiritsafe.core.errors import RecipeError
from spiritsafe.pipeline import load_recipe, packaged_recipes, recipe_schema


def test_list_names_each_with_its_summary() -> None:
    lines = call(recipes.command, "list").splitlines()
    assert [line.split()[0] for line in lines] == sorted(packaged_recipes())
    assert any(line.startswith("tiny ") and "2-layer" in line for line in lines)
    told = [json.loads(line) for line in call(recipes.command, "list", "--json").splitlines()]
    assert {one["name"]: one["summary"] for one in told} == packaged_recipes()


def test_show_prints_the_file_as_it_is(tmp_path: Path) -> None:
    text = call(recipes.command, "show", "quickstart")
    assert "# no two of these share a problem" in text
    own = tmp_path / "own.toml"
    own.write_text(text, "utf-8")
    assert load_recipe(str(own))[0] == load_recipe("quickstart")[0]
    own.write_text('name = "half-wr', "utf-8")
    assert call(recipes.command, "show", str(own)) == 'name = "half-wr', "also what cannot be read yet"


def test_show_resolved_is_a_recipe_with_every_key() -> None:
    told = json.loads(call(recipes.command, "show", "quickstart", "--resolved", "--set", "seed=9"))
    assert told["seed"] == 9
    student = next(step for step in told["steps"] if step["name"] == "student")
    assert student["train"]["warmup_share"] == 0.1, "from [defaults]"
    assert student["lora"] is None
    assert type(load_recipe("tiny")[0]).model_validate(told).seed == 9


def test_settings_that_would_not_be_seen_are_refused() -> None:
    done = CliRunner().invoke(recipes.command, ["show", "tiny", "--set", "seed=9"])
    assert done.exit_code == 2
    assert "--resolved" in done.output


def test_show_names_what_there_is() -> None:
    with pytest.raises(RecipeError, match="no recipe 'tinny'") as caught:
        call(recipes.command, "show", "tinny")
    assert "tiny" in caught.value.hint


def test_a_strangers_recipe_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('name = "a"  # \x1b[2J\u202e\n', "utf-8")
    assert call(recipes.command, "show", str(own)) == 'name = "a"  # ⟨U+001B⟩[2J⟨U+202E⟩\n'


def test_schema_prints_the_schema() -> None:
    assert json.loads(call(recipes.command, "schema")) == recipe_schema()


def test_what_is_shown_is_toml() -> None:
    for name in packaged_recipes():
        assert tomllib.loads(call(recipes.command, "show", name))["name"] == name
