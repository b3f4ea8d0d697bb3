"""Signed notes and checkpoints: a ledger's head as a text file that other transparency logs' tools read.

In: a head, keys. Out: the text of C2SP's signed-note with a tlog-checkpoint in it, and its cosignatures (v1)::

    spiritsafe/ledger/9f2b5c0d1e3a4b5c      the log: named after its first entry
    12                                      entries
    jYkO…=                                  RFC 6962 root

    — spiritsafe/ledger/9f2b… Az3grl…       who keeps the log: Ed25519 over the text above
    — spiritsafe/witness/41c8… 7Jc1…        a witness: "at this time, the largest consistent head I saw"

Formats: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature (Ed25519).
Tests hold it to the vector of the specification.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, final

from spiritsafe.core.errors import IntegrityError
from spiritsafe.ledger.curve_points import is_signing_key
from spiritsafe.ledger.keys import KeyPair, verify_text

_ED25519, _COSIGNATURE = 0x01, 0x04
_SIGNATURE_LINE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_MOST_SIGNATURES = 64


def _bad(what: str) -> IntegrityError:
    return IntegrityError(f"This is not a signed checkpoint: {what}.", hint="Ask for a good copy of the file.")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _bad("its base64 is damaged") from None


@final
@dataclass(frozen=True, slots=True)
class NoteKey:
    """A verifier key: ``name+id+base64``.

    Attributes:
        kind: 1 signs notes, 4 cosigns checkpoints.
        public: 32 bytes, Ed25519.
    """

    name: str
    kind: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes that stand in front of its signatures."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a verifier key.

        Raises:
            IntegrityError: It is none, or its id is not its key's.
        """
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        data = _bytes(encoded)
        if not name or len(data) != 33 or data[0] not in (_ED25519, _COSIGNATURE):
            raise _bad("no verifier key for Ed25519")
        if not is_signing_key(data[1:]):
            raise _bad("the verifier key is a point of small order, or not in canonical form")
        key = cls(name, data[0], data[1:])
        if key.key_id.hex() != key_id:
            raise _bad("the verifier key's id is not its key's")
        return key

    @classmethod
    def of_log(cls, origin: str, signing: str) -> Self:
        """The key of who keeps the log (``signing`` in hex)."""
        return cls(origin, _ED25519, bytes.fromhex(signing))

    @classmethod
    def of_witness(cls, signing: str) -> Self:
        """The key of a witness (``signing`` in hex)."""
        public = bytes.fromhex(signing)
        return cls(f"spiritsafe/witness/{hashlib.sha256(public).hexdigest()[:16]}", _COSIGNATURE, public)


@final
@dataclass(frozen=True, slots=True)
class LogHead:
    """A log's name, how many entries it has, and the root over them (hex)."""

    origin: str
    size: int
    root: str

    @property
    def text(self) -> str:
        """The checkpoint's text, with its final newline."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(bytes.fromhex(self.root)).decode()}\n"


@final
@dataclass(frozen=True, slots=True)
class Note:
    """A text and the signatures under it: (key name, key id and signature)."""

    text: str
    signatures: tuple[tuple[str, bytes], ...]

    def __str__(self) -> str:
        lines = [f"— {name} {base64.b64encode(data).decode()}\n" for name, data in self.signatures]
        return f"{self.text}\n{''.join(lines)}"

    @classmethod
    def parse(cls, data: str) -> Self:
        """Read a signed note.

        Raises:
            IntegrityError: It is malformed.
        """
        text, blank, block = data.rpartition("\n\n")
        lines = block.removesuffix("\n").split("\n")
        if not blank or not block.endswith("\n") or len(lines) > _MOST_SIGNATURES:
            raise _bad("text, an empty line and signatures are wanted")
        if any(ord(c) < 32 and c != "\n" for c in text):
            raise _bad("control characters")
        found = [_SIGNATURE_LINE.fullmatch(line) for line in lines]
        if not all(found):
            raise _bad("a signature line is malformed")
        return cls(f"{text}\n", tuple((match[1], _bytes(match[2])) for match in found if match))

    def signed_by(self, key: NoteKey) -> bytes | None:
        """What stands behind the id of this key; None when it did not sign."""
        for name, data in self.signatures:
            if name == key.name and data[:4] == key.key_id:
                return data[4:]
        return None

    def joined(self, other: Note) -> Note:
        """Both notes' signatures under the same text.

        Raises:
            IntegrityError: The texts differ.
        """
        if self.text != other.text:
            raise _bad("the two are of different heads")
        return Note(self.text, tuple(dict.fromkeys((*self.signatures, *other.signatures))))


def read_head(note: Note) -> LogHead:
    """The checkpoint in a note.

    Raises:
        IntegrityError: It holds none.
    """
    origin, *rest = note.text.removesuffix("\n").split("\n")
    if not origin or len(rest) < 2 or not re.fullmatch(r"0|[1-9]\d{0,15}", rest[0]) or not all(rest):
        raise _bad("origin, size and root are wanted")
    root = _bytes(rest[1])
    if len(root) != 32:
        raise _bad("the root has not 32 bytes")
    return LogHead(origin, int(rest[0]), root.hex())


def verify_note(note: Note, key: NoteKey) -> bool:
    """Whether this key signed the note's text."""
    signature = note.signed_by(key)
    return key.kind == _ED25519 and signature is not None and verify_text(key.public, signature, note.text.encode())


def _cosigned(text: str, timestamp: int) -> bytes:
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def verify_cosignature(note: Note, key: NoteKey) -> int | None:
    """When this witness cosigned the checkpoint (POSIX seconds); None when it did not."""
    signature = note.signed_by(key)
    if key.kind != _COSIGNATURE or signature is None or len(signature) != 72:
        return None
    timestamp = int.from_bytes(signature[:8], "big")
    return timestamp if verify_text(key.public, signature[8:], _cosigned(note.text, timestamp)) else None


def sign_head(head: LogHead, key: KeyPair) -> Note:
    """The checkpoint as who keeps the log signs it."""
    name = NoteKey.of_log(head.origin, key.public.signing)
    return Note(head.text, ((name.name, name.key_id + key.sign_text(head.text.encode())),))


def cosign_head(head: LogHead, key: KeyPair, *, timestamp: int, signatures: Sequence[tuple[str, bytes]] = ()) -> Note:
    """The checkpoint as a witness cosigns it, under the signatures it has already."""
    name = NoteKey.of_witness(key.public.signing)
    signature = timestamp.to_bytes(8, "big") + key.sign_text(_cosigned(head.text, timestamp))
    return Note(head.text, (*signatures, (name.name, name.key_id + signature)))
