"""Every piece of a recipe that a page shows can be read; whole recipes load."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from places import ROOT
from schema_check import schema_faults

from spiritsafe.pipeline import load_recipe, recipe_schema
from spiritsafe.serve import KeyRing

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TABLES = {"models", "data", "steps", "exams", "compare", "defaults", "engine", "extends"}
BLOCKS = [
    (page.name, block)
    for page in PAGES
    for block in re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), flags=re.S)
]


def is_of_a_recipe(values: dict[str, Any]) -> bool:
    return bool(values.keys() & TABLES)


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[page for page, _ in BLOCKS])
def test_what_is_shown_fits_the_schema(page: str, block: str, tmp_path: Path) -> None:
    values = tomllib.loads(block)
    schema = recipe_schema()
    if is_of_a_recipe(values):
        assert schema_faults({"name": "part", **values}, schema, schema) == []
    elif "endpoint" in values:
        given = {"name": "part", "models": {"teacher": values}}
        assert schema_faults(given, schema, schema) == []
    elif "keys" in values:  # of a server
        file = tmp_path / "keys.toml"
        file.write_text(block.replace("…", "0" * 64), "utf-8")
        assert len(KeyRing(file)) == len(values["keys"])
    else:  # keys of a step
        for key in values:
            assert any(key in record["properties"] for record in schema["$defs"].values() if "properties" in record)


@pytest.mark.parametrize(("page", "block"), [one for one in BLOCKS if "name" in tomllib.loads(one[1])])
def test_a_whole_recipe_loads(page: str, block: str, tmp_path: Path) -> None:
    path = tmp_path / "shown.toml"
    path.write_text(block, "utf-8")
    assert load_recipe(str(path))[0].nodes


def test_the_pages_show_recipes() -> None:
    assert sum(is_of_a_recipe(tomllib.loads(block)) for _, block in BLOCKS) >= 8
    assert sum("name" in tomllib.loads(block) for _, block in BLOCKS) >= 2
