"""The ledger room: who said what when, in a form that cannot be changed afterwards without showing.

Keys (:class:`KeyPair`), the append-only log (:class:`Ledger`), RFC 6962 Merkle proofs, signed checkpoints
(:class:`Note`) and witnesses. Knows nothing of exams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.ledger.checkpoints import (
        LogHead,
        Note,
        NoteKey,
        cosign_head,
        read_head,
        sign_head,
        verify_cosignature,
        verify_note,
    )
    from spiritsafe.ledger.clocks import CLOCK_TOLERANCE, runs_back, wrong_clocks
    from spiritsafe.ledger.dsse import IN_TOTO_STATEMENT, Envelope, pre_authentication, read_envelope, sign_envelope
    from spiritsafe.ledger.keys import (
        KeyPair,
        SigningContext,
        count_recipients,
        create_key_once,
        encrypt,
        one_a_holder,
        refuse_shared_key,
        same_holder,
        same_spelling,
        verify_signature,
        write_key_file,
    )
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
    from spiritsafe.ledger.records import Evidence, LedgerEntry, PublicKey, Signature, SignedHead, key_id_of
    from spiritsafe.ledger.witnesses import WITNESS, check_extends, head_of, origin_of, seen_heads, witness
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "CLOCK_TOLERANCE", "GENESIS", "IN_TOTO_STATEMENT", "WITNESS", "Envelope", "Evidence", "KeyPair", "Ledger",
    "LedgerCheck", "LedgerEntry", "LogHead", "Note", "NoteKey", "PublicKey", "Signature", "SignedHead",
    "SigningContext", "check_extends", "consistency_proof", "cosign_head", "count_recipients", "create_key_once",
    "encrypt", "head_of", "inclusion_path", "key_id_of", "leaf_hash", "one_a_holder", "origin_of", "pre_authentication",
    "read_envelope", "read_head", "refuse_shared_key", "root_hash", "root_of_leaves", "runs_back", "same_holder",
    "same_spelling", "seen_heads", "sign_envelope", "sign_head", "utc_now", "verify_consistency", "verify_cosignature",
    "verify_entry", "verify_evidence", "verify_head", "verify_inclusion", "verify_note", "verify_signature", "witness",
    "write_key_file", "wrong_clocks",
]  # fmt: skip
