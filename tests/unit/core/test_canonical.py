import json
from typing import Any

import pytest

from spiritsafe.core.canonical import canonical_json, digest, digest_bytes, short
from spiritsafe.core.errors import IntegrityError


def test_the_examples_of_rfc_8785() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": '€$\u000f\nA\'B"\\\\"/',
        "literals": [None, True, False],
    }
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical_json(value) == expected.encode()
    keys = {"€": 1, "\r": 2, "\ufb33": 3, "1": 4, "😀": 5, "\x80": 6, "ö": 7}  # §3.2.3: sorted by UTF-16 code units
    assert list(json.loads(canonical_json(keys)).values()) == [2, 4, 6, 7, 1, 5, 3]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, -(2**53), "\ud800", {"\ud800": 1}, [[2**60]]])
def test_values_without_a_canonical_form(value: Any) -> None:
    with pytest.raises(IntegrityError, match="no canonical JSON form") as caught:
        canonical_json(value)
    assert caught.value.hint


def test_digests() -> None:
    assert digest_bytes(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest({"b": 1, "a": 2.0}) == digest_bytes(b'{"a":2,"b":1}')
    assert digest({"a": 2, "b": 1}) == digest({"b": 1.0, "a": 2})
    assert short("sha256:abcdef0123456789") == "abcdef012345"
    assert short("sha256:abcdef0123456789", 4) == "abcd"
