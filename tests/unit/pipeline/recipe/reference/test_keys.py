from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field

from spiritsafe.core.records import Record
from spiritsafe.pipeline import RecipeKey, RecipeTable, load_recipe, recipe_tables
from spiritsafe.pipeline.recipe import kinds
from spiritsafe.pipeline.recipe.kinds import kind_names, register_kind
from spiritsafe.pipeline.recipe.made import FromEntry, StepEntry


def table(title: str) -> RecipeTable:
    return next(one for one in recipe_tables() if one.title == title)


def key(title: str, name: str) -> RecipeKey:
    return next(one for one in table(title).keys if one.name == name)


def test_the_tables_stand_in_the_order_of_a_recipe() -> None:
    found = recipe_tables()
    tops = [one.title for one in found if not one.is_inside]
    steps = [f'kind = "{name}"' for name in sorted(kind_names())]
    others = ["[[exams]]", "[[compare]]", "[engine]", "[track]"]
    assert tops == ["The recipe", "[models.<name>]", "[data.<name>]", *steps, *others]
    assert [one.title for one in found if one.is_step] == steps
    assert len({one.title for one in found}) == len(found)
    assert found == sorted(found, key=lambda one: one.is_inside)


def test_a_key_says_what_it_takes_and_what_holds_without_it() -> None:
    assert key('kind = "tune"', "from") == RecipeKey(
        name="from", value="name", table="", default="required", said="The model that it goes on from."
    )
    assert key('kind = "cut"', "share").value == "number above 0 to 1"
    assert key('kind = "cut"', "share").default == ""
    assert key('kind = "cut"', "calibrate").default == "", "left out, it is filled in"
    assert key('kind = "tune"', "learns").value == "list of names or table: name = integer from 1"
    assert key('kind = "sample"', "keep").value.startswith('"verified", "all"')
    assert key('kind = "sample"', "sampling").default == "{ temperature = 0.7 }"
    assert key("train", "betas") == RecipeKey(
        name="betas",
        value="list of 2 numbers",
        table="",
        default="[0.9, 0.95]",
        said="Of AdamW: how much of the running mean of gradients, and of their squares, a step keeps.",
    )
    assert key("[data.<name>]", "dedupe").default == "true"
    assert key('kind = "distil"', "objective").value.endswith('"across"')


def test_a_table_inside_another_is_told_once_and_named_by_its_keys() -> None:
    titles = [one.title for one in recipe_tables()]
    assert titles.count("train") == 1
    assert key('kind = "tune"', "train").table == "train"
    assert key("dev", "sampling").table == "sampling"
    shared = [title for title in titles if title.startswith("config")]
    assert sorted(shared) == ["config of capture", "config of reinforce"], "two tables with one key are told apart"


def test_what_a_recipe_refuses_is_not_offered() -> None:
    assert "seed" in {one.name for one in table("The recipe").keys}
    assert all(one.name != "seed" for each in recipe_tables() if each.is_inside for one in each.keys)
    assert all(one.name != "kind" for each in recipe_tables() if each.is_step for one in each.keys)


def test_a_new_kind_is_told_of_without_a_line_here(monkeypatch: pytest.MonkeyPatch) -> None:
    load_recipe("tiny")
    monkeypatch.setattr(kinds, "KINDS", dict(kinds.KINDS))

    class Cask(Record):
        """What it rests in.

        Attributes:
            litres: Size.
        """

        litres: int = Field(default=200, ge=1, lt=2**53)

    @register_kind("steps")
    class Rest(FromEntry):
        """It rests.

        Attributes:
            years: How long.
        """

        kind: Literal["rest"] = "rest"
        years: float = 3
        casks: tuple[Cask, ...] = ()

    assert table('kind = "rest"').said == "It rests."
    assert key('kind = "rest"', "years") == RecipeKey(
        name="years", value="number", table="", default="3", said="How long."
    )
    assert key('kind = "rest"', "name").said == "Of what it makes.", StepEntry.__doc__
    assert key('kind = "rest"', "casks").table == "casks"
    assert key("casks", "litres").value == "integer from 1"
