"""Canonical JSON against an independent rendering, and derived seeds."""

import json
import math
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from spiritsafe.core.canonical import canonical_json, digest
from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.seeds import SEED_BITS, derive_seed

texts = st.text(st.characters(codec="utf-8"), max_size=12)
integers = st.integers(-(2**53) + 1, 2**53 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | integers | floats | texts,
    lambda v: st.lists(v, max_size=4) | st.dictionaries(texts, v, max_size=4),
    max_leaves=12,
)


def number(value: float) -> str:
    """ECMAScript's Number::toString (ECMA-262 §6.1.6.1.20), from Python's shortest digits."""
    if value == 0:
        return "0"
    mantissa, _, power = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(digits) - len(fraction) + int(power or 0)  # the decimal point's place among them
    digits = digits.rstrip("0")
    sign, length = "-" if value < 0 else "", len(digits)
    if length <= point <= 21:
        return sign + digits + "0" * (point - length)
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    tail = f"e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return sign + digits[0] + ("." + digits[1:] if length > 1 else "") + tail


def render(value: Any) -> str:
    """RFC 8785, written down a second time."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[" + ",".join(map(render, value)) + "]"
    ordered = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be"))
    return "{" + ",".join(f"{render(key)}:{render(inner)}" for key, inner in ordered) + "}"


@given(values)
def test_equals_the_independent_rendering(value: Any) -> None:
    assert canonical_json(value) == render(value).encode("utf-8")


@given(floats)
def test_numbers_mean_what_they_meant(value: float) -> None:
    assert math.isclose(float(canonical_json(value)), value, rel_tol=0.0, abs_tol=0.0)


plain = st.recursive(  # a whole float from 2**53 on is read back as an integer, and such integers are refused
    st.none() | st.booleans() | integers | st.floats(-(2.0**53) + 1, 2.0**53 - 1) | texts,
    lambda v: st.lists(v, max_size=4) | st.dictionaries(texts, v, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_reading_and_writing_again_changes_nothing(value: Any) -> None:
    data = canonical_json(value)
    assert canonical_json(json.loads(data)) == data


@given(st.dictionaries(texts, values, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(value: dict[str, Any], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert digest(dict(items)) == digest(value)


@given(st.lists(texts | integers, max_size=4), st.lists(texts | integers, max_size=4))
def test_seeds_are_functions_of_their_parts(first: list[Any], second: list[Any]) -> None:
    assert 0 <= derive_seed(*first) < 2**SEED_BITS
    assert (derive_seed(*first) == derive_seed(*second)) == (first == second)


common = st.recursive(
    st.none()
    | st.booleans()
    | integers
    | st.floats(-1e9, 1e9).map(lambda value: round(value, 6))
    | st.integers(-1000, 1000).map(float)
    | texts,
    lambda v: (
        st.lists(v, max_size=4) | st.tuples(v, v) | st.dictionaries(st.text("abcdefXYZ_0", max_size=6), v, max_size=4)
    ),
    max_leaves=20,
)


TRAPS = [
    "\0001e-05\0", {"\0001e-05\0": 1e-5}, ["\\u00001e-05\\u0000", 1e-5], {"a": '"\0', "b": 1e-9, "c": '\0"'},
    1e-5, -1e-7, 1e21, 1e22, 5e-324, 2.0**60, -0.0, [0.0001, 0.00009999], 1.0, [1.0, 2.5, 1e16], {"a": {"b": 3.0}},
    ["[1.0]", 1.0], {"a,1.0,": 2.0}, ["1.0", 1e-9], [":1e-9,", 7.0], ["1.0,", 0.5], {"\ue000": 1, "\U00010000": 2},
    {"é": 1.0, "e": -0.0}, [[], {}, (), ({},)], "\x7f\x1f\u2028", [True, 1, 1.0, None],
]  # fmt: skip


@pytest.mark.parametrize("value", TRAPS)
def test_numbers_that_are_written_again_touch_nothing_else(value: Any) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@given(
    st.recursive(
        st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(["1.0", ",2.0,", "[1e9]"]), st.lists
    )
)
def test_any_float_is_written_as_rfc8785_writes_it(value: Any) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@given(common | values)
def test_the_quick_way_writes_what_rfc8785_writes(value: Any) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    "value", [2**53, -(2**53), math.nan, math.inf, "\ud800", {"\ud800": 1}, {1: 2}, [b"x"], {"a": {1.5}}]
)
def test_what_has_no_canonical_form_is_refused_by_both(value: Any) -> None:
    with pytest.raises(IntegrityError):
        canonical_json(value)
    with pytest.raises((rfc8785.CanonicalizationError, UnicodeEncodeError)):
        rfc8785.dumps(value)
