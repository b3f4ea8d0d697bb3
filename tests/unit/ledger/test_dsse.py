"""DSSE envelopes: what is signed is what the specification says, and a text has one Base64 form."""

from __future__ import annotations

from typing import Any

import pytest

from spiritsafe.core.errors import IntegrityError
from spiritsafe.ledger import pre_authentication, read_envelope, sign_envelope


def test_pre_authentication_is_the_specifications() -> None:
    # DSSE v1.0.2, protocol.md, "Test Vectors"
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pre_authentication("http://example.com/HelloWorld", b"hello world") == expected
    assert pre_authentication("é", "é".encode()).startswith(b"DSSEv1 2 ")  # bytes are counted, not characters


def test_an_envelope_comes_back() -> None:
    signed: list[bytes] = []
    envelope: Any = sign_envelope(b'{"a":1}', lambda text: signed.append(text) or b"\x01\x02", key_id="k")
    assert signed == [b'DSSEv1 28 application/vnd.in-toto+json 7 {"a":1}']
    assert read_envelope(envelope).decoded() == (b'{"a":1}', b"\x01\x02")


@pytest.mark.parametrize(
    "change",
    [
        {"payloadType": "text/plain"},
        {"signatures": []},
        {"extra": 1},
        {"payload": "e30"},
        {"payload": "e3!0="},
        {"signatures": [{"sig": "AQJ="}]},  # AQI= says the same bytes
    ],
)
def test_another_envelope_is_refused(change: dict[str, Any]) -> None:
    envelope = {**sign_envelope(b"{}x", lambda _: b"\x01\x02", key_id="")} | change
    with pytest.raises(IntegrityError):
        read_envelope(envelope).decoded()
