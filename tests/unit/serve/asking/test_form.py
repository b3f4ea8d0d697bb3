from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiritsafe.core.serving import Form
from spiritsafe.serve.asking.form import ResponseFormat, StructuredOutputs, form_of, ignored_in
from spiritsafe.serve.refusals import Refusal


def structured(value: dict[str, Any]) -> StructuredOutputs:
    return StructuredOutputs.model_validate(value)


@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=4))
def test_choices_are_matched_and_nothing_else_is(choices: list[str]) -> None:
    form = form_of(None, structured({"choice": choices}))
    assert form is not None
    assert all(re.fullmatch(form.source, choice) for choice in choices)
    assert not re.fullmatch(form.source, "".join(choices) + "!")


@pytest.mark.parametrize(
    ("given_format", "given_structure", "param"),
    [
        ({"type": "json_object", "json_schema": {"name": "x"}}, None, "response_format.json_schema"),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, None, "response_format.json_schema.schema"),
        ({"type": "json_object"}, {"regex": "a"}, "structured_outputs"),
        (None, {}, "structured_outputs"),
        (None, {"regex": "a", "grammar": "b"}, "structured_outputs"),
    ],
)
def test_contradictions(given_format: Any, given_structure: Any, param: str) -> None:
    response_format = None if given_format is None else ResponseFormat.model_validate(given_format)
    with pytest.raises(Refusal) as found:
        form_of(response_format, None if given_structure is None else structured(given_structure))
    assert found.value.param == param


def test_a_schema_keeps_the_order_of_its_keys() -> None:
    schema = {"type": "object", "properties": {"b": {"const": None}, "a": {}}}
    given_format = ResponseFormat.model_validate(
        {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    )
    source = '{"type":"object","properties":{"b":{"const":null},"a":{}}}'
    assert form_of(given_format, None) == Form(kind="schema", source=source)
    assert form_of(None, structured({"json": source})) == Form(kind="schema", source=source)
    assert ignored_in(given_format) == ("response_format.json_schema.name",)
