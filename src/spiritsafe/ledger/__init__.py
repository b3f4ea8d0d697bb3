"""The ledger room: who said what when, in a form that cannot be changed afterwards without showing.

Keys (:class:`KeyPair`), the append-only log (:class:`Ledger`) and RFC 6962 Merkle proofs. Knows nothing of exams.
"""

from __future__ import annotations

from spiritsafe.ledger.keys import KeyPair, SigningContext, encrypt, verify_signature
from spiritsafe.ledger.log import GENESIS, Ledger, LedgerCheck, utc_now, verify_entry, verify_evidence, verify_head
from spiritsafe.ledger.merkle import (
    consistency_proof,
    inclusion_path,
    leaf_hash,
    root_hash,
    root_of_leaves,
    verify_consistency,
    verify_inclusion,
)

__all__ = [
    "GENESIS",
    "KeyPair",
    "Ledger",
    "LedgerCheck",
    "SigningContext",
    "consistency_proof",
    "encrypt",
    "inclusion_path",
    "leaf_hash",
    "root_hash",
    "root_of_leaves",
    "utc_now",
    "verify_consistency",
    "verify_entry",
    "verify_evidence",
    "verify_head",
    "verify_inclusion",
    "verify_signature",
]
