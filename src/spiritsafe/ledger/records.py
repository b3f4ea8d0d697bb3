"""Keys, signatures, entries and heads of a ledger, as they are on disk."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Annotated

from pydantic import Field, JsonValue, StringConstraints, field_validator

from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.records import Digest, Hex32, LedgerTime, Record, Timestamp
from spiritsafe.core.text.names import shown_name
from spiritsafe.ledger.curve_points import is_signing_key

Hex64 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]


def key_id_of(signing: str) -> str:
    """The id of a signing key (hex): 32 hex digits, 128 bits, of SHA-256 over it."""
    return hashlib.sha256(bytes.fromhex(signing)).hexdigest()[:32]


class PublicKey(Record):
    """What others know of a key holder.

    Attributes:
        holder: Who says to hold it; their word, nothing proves it.
        signing: Ed25519 public key.
        recipient: age recipient (X25519) that sealed halves are encrypted to.
    """

    holder: str = Field(min_length=1, max_length=200)
    signing: Hex32
    recipient: str = Field(pattern=r"^age1[0-9a-z]+$")

    @field_validator("signing")
    @classmethod
    def _a_key(cls, signing: str) -> str:
        if not is_signing_key(bytes.fromhex(signing)):
            raise ValueError("no Ed25519 key: a point of small order, or not its canonical form")
        return signing

    @cached_property
    def key_id(self) -> str:
        """What people compare by eye: :func:`key_id_of` the signing key."""
        return key_id_of(self.signing)

    @property
    def label(self) -> str:
        """Holder and key id, for print."""
        return f"{shown_name(self.holder)} (key {self.key_id})"

    @property
    def recorded_label(self) -> str:
        """The same as records have always held it, with half of the id; :attr:`label` is what is printed."""
        return f"{self.holder} (key {self.key_id[:16]})"


class Signature(Record):
    """An Ed25519 signature and the key that made it."""

    key: Hex32
    value: Hex64


class LedgerEntry(Record):
    """One line of a ledger.

    Attributes:
        previous: Digest of the entry before; ``sha256:`` and 64 zeros for the first.
        time: When its signer's clock says it was appended (UTC); the order is that of ``index``.
        kind: What the body is: paper, registration, withdrawal, lapse, access, result, rerun, reveal, open, answers,
            dispute, grade edit, dispute answer, reissue, overlap, memory and others.
    """

    index: int = Field(ge=0)
    previous: Digest
    time: LedgerTime
    kind: str
    body: dict[str, JsonValue]
    signature: Signature

    def signed_bytes(self) -> bytes:
        """What the signature is over: the entry without it."""
        return canonical_json({key: value for key, value in self.to_json().items() if key != "signature"})


class SignedHead(Record):
    """A ledger's state, vouched for: how many entries, and the RFC 6962 root over them."""

    size: int = Field(ge=1)
    root: Hex32
    time: Timestamp
    signature: Signature

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return canonical_json({"size": self.size, "root": self.root, "time": self.time})


class Evidence(Record):
    """A ledger entry with its RFC 6962 inclusion path under a signed head."""

    entry: LedgerEntry
    path: tuple[Hex32, ...]
