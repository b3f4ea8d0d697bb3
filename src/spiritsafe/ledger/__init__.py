"""The ledger room: who said what when, in a form that cannot be changed afterwards without showing.

Keys (:class:`KeyPair`), the append-only log (:class:`Ledger`), RFC 6962 Merkle proofs, signed checkpoints
(:class:`Note`) and witnesses. Knows nothing of exams.
"""

from __future__ import annotations

from spiritsafe.ledger.clocks import CLOCK_TOLERANCE, runs_back, wrong_clocks
from spiritsafe.ledger.keys import KeyPair, SigningContext, count_recipients, encrypt, verify_signature
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
from spiritsafe.ledger.notes import (
    LogHead,
    Note,
    NoteKey,
    cosign_head,
    read_head,
    sign_head,
    verify_cosignature,
    verify_note,
)
from spiritsafe.ledger.witnessing import WITNESS, check_extends, head_of, origin_of, seen_heads, witness

__all__ = [
    "CLOCK_TOLERANCE",
    "GENESIS",
    "WITNESS",
    "KeyPair",
    "Ledger",
    "LedgerCheck",
    "LogHead",
    "Note",
    "NoteKey",
    "SigningContext",
    "check_extends",
    "consistency_proof",
    "cosign_head",
    "count_recipients",
    "encrypt",
    "head_of",
    "inclusion_path",
    "leaf_hash",
    "origin_of",
    "read_head",
    "root_hash",
    "root_of_leaves",
    "runs_back",
    "seen_heads",
    "sign_head",
    "utc_now",
    "verify_consistency",
    "verify_cosignature",
    "verify_entry",
    "verify_evidence",
    "verify_head",
    "verify_inclusion",
    "verify_note",
    "verify_signature",
    "witness",
    "wrong_clocks",
]
