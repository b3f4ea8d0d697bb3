from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from spiritsafe.ledger import KeyPair, Ledger, verify_entry
from spiritsafe.ledger.records import LedgerEntry

KEY = KeyPair.generate("Eve")
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(-1e15, 1e15)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('abÄ\n" ', max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.dictionaries(st.text("xyz", max_size=3), JSON_VALUES, max_size=3), min_size=1, max_size=4))
def test_whatever_is_appended_comes_back_signed_and_verifies(tmp_path_factory, bodies):
    path = tmp_path_factory.mktemp("ledger") / "l.jsonl"
    ledger = Ledger(path)
    written = [ledger.append("note", body, KEY) for body in bodies]
    fresh = Ledger(path)
    assert list(fresh.entries()) == written
    assert fresh.verify().ok
    for entry, line in zip(written, path.read_bytes().split(b"\n"), strict=False):
        assert entry.canonical() == line
        assert verify_entry(LedgerEntry.from_json(json.loads(line)))
