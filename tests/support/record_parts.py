"""Records of an exam and its ledger, made up."""

from __future__ import annotations

from spiritsafe.core.records import Message, Problem
from spiritsafe.ledger.records import LedgerEntry, PublicKey, Signature

KEY = PublicKey(holder="Eve", signing="ab" * 32, recipient="age1xyz")
SIGNATURE = Signature(key="ab" * 32, value="cd" * 64)
PROBLEM = Problem(task="t:x", canonical_text="1+1", messages=(Message(role="user", content="secret words"),))


def entry() -> LedgerEntry:
    return LedgerEntry(
        index=3,
        previous="sha256:" + "0" * 64,
        time="2026-01-02T03:04:05.678Z",
        kind="paper",
        body={"a": 1},
        signature=SIGNATURE,
    )
