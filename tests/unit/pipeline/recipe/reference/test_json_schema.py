from __future__ import annotations

import json
import tomllib
from typing import Any, ClassVar, Literal

import pytest
from places import ROOT
from pydantic import Field
from schema_check import schema_faults

from spiritsafe.core.records import Record
from spiritsafe.pipeline import Recipe, load_recipe, packaged_recipes, recipe_schema
from spiritsafe.pipeline.recipe.kinds import kinds_of
from spiritsafe.pipeline.recipe.reference.json_schema import record_schema, sentences_of
from spiritsafe.pipeline.recipe.schema import CompareRecipe, ExamRecipe

SCHEMA = recipe_schema()
TABLES = ("models", "data", "steps")
MINIMAL: dict[str, Any] = {"name": "a", "steps": [{"kind": "tune", "name": "b", "from": "c", "learns": ["d"]}]}


def faults(recipe: dict[str, Any]) -> list[str]:
    return schema_faults(recipe, SCHEMA, SCHEMA)


@pytest.mark.parametrize("name", packaged_recipes())
def test_each_packaged_recipe_fits(name: str) -> None:
    text = (ROOT / "src" / "spiritsafe" / "pipeline" / "recipes" / f"{name}.toml").read_text("utf-8")
    assert faults(tomllib.loads(text)) == []


@pytest.mark.parametrize("name", packaged_recipes())
def test_so_does_a_resolved_one_without_what_toml_has_no_word_for(name: str) -> None:
    def without_nulls(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_nulls(one) for key, one in value.items() if one is not None}
        return [without_nulls(one) for one in value] if isinstance(value, list) else value

    assert faults(without_nulls(load_recipe(name)[0].to_json())) == []


def test_what_makes_a_recipe_shorter_fits() -> None:
    assert faults({"extends": "tiny", "data": {"lessons": {"problems": 10}}}) == []
    shared = {"distil": {"from": "c", "train": {"max_epochs": 1}}, "reinforce": {"config": {"num_rounds": 3}}}
    assert faults({**MINIMAL, "defaults": shared}) == []
    assert faults({**MINIMAL, "steps": [{**MINIMAL["steps"][0], "learns": {"d": 5}}]}) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": None}, ": no name"),
        ({"name": "With Space"}, "is no ^"),
        ({"sumary": "text"}, ": unknown key sumary"),
        ({"defaults": {"tune": {"name": "x"}}}, ".defaults.tune: unknown key name"),
        ({"defaults": {"teach": {}}}, ".defaults: unknown key teach"),
        ({"engine": {"device": "tpu"}}, ".engine.device: 'tpu' is none of"),
        ({"exams": [{"task": "arith:sums"}]}, ".exams.0: no problems"),
        ({"models": {"Base": {"source": "tiny:0"}}}, ".models: unknown key Base"),
    ],
)
def test_what_does_not_fit_is_found(change: dict[str, Any], said: str) -> None:
    recipe = {key: value for key, value in {**MINIMAL, **change}.items() if value is not None}
    found = faults(recipe)
    assert len(found) == 1
    assert said in found[0]


def test_a_step_of_no_kind_or_with_a_key_of_another_kind_does_not_fit() -> None:
    assert faults({**MINIMAL, "steps": [{"kind": "teach", "name": "b"}]})
    assert faults({**MINIMAL, "steps": [{"kind": "tune", "name": "b", "share": 0.5}]})
    assert faults({**MINIMAL, "steps": [{"kind": "distil", "name": "b", "objective": "accross"}]})


def test_it_is_plain_json_that_names_its_dialect() -> None:
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert '"null"' not in json.dumps(SCHEMA)


def test_every_key_is_described() -> None:
    records: dict[str, Any] = {"Recipe": SCHEMA, **SCHEMA["$defs"]}  # type: ignore[dict-item]
    missing = [
        f"{name}.{key}"
        for name, record in records.items()
        for key, value in record.get("properties", {}).items()
        if not value.get("description")
    ]
    assert missing == [], "add it to the Attributes of the class's docstring"


def test_every_description_is_of_a_key() -> None:
    kinds: list[type[Record]] = [kind for table in TABLES for kind in kinds_of(table)]
    for record in [Recipe, ExamRecipe, CompareRecipe, *kinds]:
        keys = {*record.model_fields, *(field.alias for field in record.model_fields.values())}
        assert set(sentences_of(record)) <= keys, record


class _Base(Record):
    """A base.

    Attributes:
        shared: Said
            here, in ``two`` lines; None: not at all.
        own: Said by the base.
    """

    shared: int | None = None
    own: str = "x"


class _Kind(_Base):
    """A kind: :class:`~spiritsafe.core.records.Record` of its own.

    It has more to say than this.

    Attributes:
        own: Said by the kind.

    Raises:
        ValueError: It is no key.
    """

    makes: ClassVar[str] = "model"
    kind: Literal["new"] = "new"
    origin: str = Field(alias="from")
    title: str = "a key of this name"


def test_docstrings_of_a_class_and_its_bases_describe_its_keys() -> None:
    schema = record_schema(_Kind)
    said = {key: value.get("description") for key, value in schema["properties"].items()}
    assert said == {
        "shared": "Said here, in `two` lines; left out: not at all.",
        "own": "Said by the kind.",
        "kind": "A kind: `spiritsafe.core.records.Record` of its own.",
        "from": None,
        "title": None,
    }
    assert schema["properties"]["shared"] == {"type": "integer", "description": said["shared"]}
    assert schema["properties"]["title"]["default"] == "a key of this name"
    assert "title" not in schema["properties"]["own"]


def test_a_class_without_a_docstring_says_nothing() -> None:
    class Silent(Record):
        key: int

    assert sentences_of(Silent).get("key") is None
