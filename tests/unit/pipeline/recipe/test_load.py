from __future__ import annotations

import os
from pathlib import Path

import pytest

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import RecipeError
from spiritsafe.pipeline import load_recipe, packaged_recipes


def test_packaged_recipes_load_and_are_named_like_their_files() -> None:
    names = packaged_recipes()
    assert {"tiny", "quickstart"} <= set(names)
    for name, summary in names.items():
        recipe, _ = load_recipe(name)
        assert recipe.name == name
        assert summary


def test_an_unknown_key_names_the_nearest_known_one() -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("tiny", ("exam.problms=3",))
    assert "exam.problms" in caught.value.message
    assert "'problems'" in caught.value.hint


@pytest.mark.parametrize(
    ("override", "where"),
    [
        ("students.0.shar=0.5", "'share'"),
        ("teach.train.learning_rat=1", "'learning_rate'"),
        ("studentz=1", "'students'"),
    ],
)
def test_unknown_keys_are_found_at_every_depth(override: str, where: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("tiny", (override,))
    assert where in caught.value.hint


def test_overrides_change_the_name_of_the_run() -> None:
    before, _ = load_recipe("tiny")
    after, _ = load_recipe("tiny", ("exam.problems=44",))
    assert after.exam.problems == 44
    assert digest(before.resolved()) != digest(after.resolved())


@pytest.mark.parametrize(
    "override",
    ["exam", "students.7.share=1", "exam.problems=1", "students.0.objective=gan", "teach.train.learning_rate=-1"],
)
def test_impossible_overrides_are_refused(override: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("tiny", (override,))
    assert caught.value.hint


def test_a_recipe_may_extend_another(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "tiny"\nname = "mine"\n[exam]\nproblems = 20\n')
    recipe, text = load_recipe(str(path))
    assert (recipe.name, recipe.exam.problems) == ("mine", 20)
    assert recipe.exam.sampling == load_recipe("tiny")[0].exam.sampling
    assert "extends" in text


def test_recipes_that_extend_in_a_circle_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "loop.toml"
    path.write_text(f'extends = "{path}"\n')
    with pytest.raises(RecipeError, match="circle"):
        load_recipe(str(path))


def test_missing_and_broken_recipes_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("no-such-recipe")
    assert "tiny" in caught.value.hint
    broken = tmp_path / "broken.toml"
    broken.write_text("name = [")
    with pytest.raises(RecipeError, match="not valid TOML"):
        load_recipe(str(broken))


@pytest.mark.timeout(60)
def test_a_recipe_that_is_no_text_or_has_no_end_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "deep.toml").write_text("a = " + "[" * 50_000)
    with pytest.raises(RecipeError, match="nested too deep"):
        load_recipe(str(tmp_path / "deep.toml"))
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    for name in ("pipe.toml", "zero.toml", "a\0b.toml"):
        with pytest.raises(RecipeError, match="There is no recipe"):
            load_recipe(str(tmp_path / name))
    with pytest.raises(RecipeError):
        load_recipe("tiny", ("seed=" + "[" * 50_000,))
