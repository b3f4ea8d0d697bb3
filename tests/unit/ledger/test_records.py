from __future__ import annotations

import hashlib
import json

import pytest
from record_parts import KEY, SIGNATURE, entry

from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.errors import IntegrityError
from spiritsafe.ledger.records import LedgerEntry, SignedHead


def test_key_id_is_the_start_of_the_keys_hash():
    assert KEY.key_id == hashlib.sha256(bytes.fromhex("ab" * 32)).hexdigest()[:32]
    assert KEY.label == f"Eve (key {KEY.key_id})"


def test_signed_bytes_are_everything_but_the_signature():
    value = entry().to_json()
    del value["signature"]
    assert entry().signed_bytes() == canonical_json(value)
    head = SignedHead(size=2, root="00" * 32, time="2026-01-02T03:04:05.678Z", signature=SIGNATURE)
    assert json.loads(head.signed_bytes()) == {"size": 2, "root": "00" * 32, "time": "2026-01-02T03:04:05.678Z"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("time", "yesterday"),
        ("previous", "0" * 64),
        ("index", -1),
        ("extra", 1),
        ("signature", {"key": "AB" * 32, "value": "cd" * 64}),  # upper-case hex would be a second spelling
    ],
)
def test_malformed_entries_are_refused(field, value):
    with pytest.raises(IntegrityError):
        LedgerEntry.from_json({**entry().to_json(), field: value})
