from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from spiritsafe.serve.asking.body import read_body
from spiritsafe.serve.asking.fields import RequestBody, RequestPart
from spiritsafe.serve.refusals import Refusal


class Inner(RequestPart):
    kind: str
    size: int | None = None


class Example(RequestBody):
    refused: ClassVar[dict[str, str]] = {"video": "Send text."}

    items: list[Inner] = Field(default=[])
    either: str | list[Inner] | None = None
    share: float = 0.0


def refused(raw: bytes | dict[str, Any]) -> Refusal:
    with pytest.raises(Refusal) as found:
        read_body(raw if isinstance(raw, bytes) else json.dumps({"model": "m", **raw}).encode(), Example)
    assert found.value.status == 400
    return found.value


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "Expecting value"),
        (b"[1]", "no object"),
        (b'{"model": "m", "share": NaN}', "NaN"),
        (b'{"model": "m", "share": -Infinity}', "Infinity"),
        (b'{"model": "m", "share": ' + b"9" * 5000 + b"}", "4300 digits"),
        (b'{"model": "m", "share": ' + b"9" * 30 + b"}", "more than 64 bits"),
        (b'{"items": ' + b"[" * 200 + b"]" * 200 + b"}", "more than 100 deep"),
        (b'{"model": "m", "model": "n"}', "stands twice"),
        (b'{"model": "m", "items": [{"kind": "a", "kind": "b"}]}', "stands twice"),
        (b'{"items": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"model": "\\ud800"}', "UTF-8"),
        (b'{"model": "\xff"}', "UTF-8"),
        (json.dumps({str(number): number for number in range(5000)}).encode(), "more than 4096 keys"),
    ],
)
def test_what_is_no_json_object(raw: bytes, said: str) -> None:
    refusal = refused(raw)
    assert said in refusal.message
    assert (refusal.code, refusal.param) == ("invalid_json", None)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"model": None}, "model", "missing_required_parameter"),
        ({"items": [{"kind": "a"}, {}]}, "items[1].kind", "missing_required_parameter"),
        ({"items": [{"kind": "a", "size": "1"}]}, "items[0].size", "invalid_type"),
        ({"items": [{"kind": "a", "size": True}]}, "items[0].size", "invalid_type"),
        ({"items": [{"kind": "a", "sise": 1}]}, "items[0].sise", "unknown_parameter"),
        ({"either": 5}, "either", "invalid_type"),
        ({"either": [{"size": 5}]}, "either[0].kind", "missing_required_parameter"),
        ({"video": {}}, "video", "unsupported_parameter"),
    ],
)
def test_a_refusal_names_the_field(fields: dict[str, Any], param: str, code: str) -> None:
    refusal = refused(fields)
    assert (refusal.param, refusal.code) == (param, code)


def test_hints_say_what_to_do() -> None:
    assert refused({"shore": 1}).hint == "Did you mean 'share'?"
    assert refused({"video": 1}).hint == "Send text."
    assert "valid string" in refused({"either": 5}).message


def test_null_is_absent_on_every_floor() -> None:
    raw = b'{"model": "m", "share": null, "video": null, "items": [{"kind": "a", "size": null}]}'
    body = read_body(raw, Example)
    assert (body.share, body.items[0].size) == (0.0, None)
    assert body.model_fields_set == {"model", "items"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inside: (
        st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from([*Example.model_fields, "x"]), inside)
    ),
    max_leaves=12,
)


@given(JSON | st.binary(max_size=40))
def test_anything_is_read_or_refused(value: Any) -> None:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    with suppress(Refusal):
        assert read_body(raw, Example).model
