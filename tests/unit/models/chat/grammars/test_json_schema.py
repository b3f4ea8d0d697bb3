"""Keywords of schemas: what JSON Schema knows passes, what it does not is refused with the nearest name."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from spiritsafe.models.chat.calls.prompt import RefusedJob
from spiritsafe.models.chat.grammars.json_schema import checked_schema


def vocabulary(schema: Any, found: set[str]) -> set[str]:
    """Names of the keywords that JSON Schema's own schemas describe."""
    if isinstance(schema, dict):
        for name, part in schema.items():
            found |= set(part) if name == "properties" else set()
            vocabulary(part, found)
    return found


def test_every_keyword_of_json_schema_is_known() -> None:
    registry = jsonschema.validators._META_SCHEMAS  # type: ignore[attr-defined]
    drafts = [dict(validator.META_SCHEMA) for validator in registry.values()]
    keywords = {name for draft in drafts[-3:] for name in vocabulary(draft, set())} - {
        "$recursiveAnchor",
        "$recursiveRef",
    }
    assert {"maxLength", "$ref", "propertyNames"} <= keywords
    for name in sorted(keywords):
        assert checked_schema(json.dumps({name: True}), "form") == {name: True}


def test_names_of_properties_and_values_are_no_keywords() -> None:
    schema = {
        "properties": {"maxlength": {"type": "string"}, "zebra": True},
        "$defs": {"anything": {}},
        "enum": [{"zebra": {"lion": 1}}],
        "default": {"x": 1},
        "x-order": ["zebra"],
    }
    assert checked_schema(json.dumps(schema), "form") == schema


@pytest.mark.parametrize(
    "schema",
    [
        {"maxlength": 3},
        {"properties": {"a": {"maxlength": 3}}},
        {"items": {"anyOf": [{"maxlength": 3}]}},
        {"additionalProperties": {"$defs": {"b": {"maxlength": 1}}}},
    ],
)
def test_a_misspelt_keyword_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(RefusedJob, match="'maxlength'") as caught:
        checked_schema(json.dumps(schema), "messages")
    assert (caught.value.hint, caught.value.param) == ("Did you mean 'maxLength'?", "messages")
