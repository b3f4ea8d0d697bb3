"""Against the vector of the signed-note specification, and against cryptography's own Ed25519."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from spiritsafe.core.errors import IntegrityError
from spiritsafe.ledger import (
    KeyPair,
    LogHead,
    Note,
    NoteKey,
    cosign_head,
    read_head,
    sign_head,
    verify_cosignature,
    verify_note,
)

# c2sp.org/signed-note, "Example"
VECTOR_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
VECTOR = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
HEAD = LogHead("spiritsafe/ledger/00ff", 12, "ab" * 32)


@pytest.fixture(scope="module")
def key() -> KeyPair:
    return KeyPair.generate("Log keeper")


def test_the_specifications_vector_verifies():
    note, key = Note.parse(VECTOR), NoteKey.parse(VECTOR_KEY)
    assert str(key) == VECTOR_KEY
    assert str(note) == VECTOR
    assert verify_note(note, key)
    assert not verify_note(Note(note.text + "More.\n", note.signatures), key)
    assert not verify_note(note, NoteKey("example.com/bar", 1, key.public))


def test_a_checkpoint_is_three_lines_and_a_signature(key):
    note = sign_head(HEAD, key)
    text, signature = str(note).split("\n\n")
    assert text.split("\n") == ["spiritsafe/ledger/00ff", "12", base64.b64encode(b"\xab" * 32).decode()]
    assert signature.startswith("— spiritsafe/ledger/00ff ")
    raw = base64.b64decode(signature.split()[2])
    name = hashlib.sha256(b"spiritsafe/ledger/00ff\n\x01" + bytes.fromhex(key.public.signing)).digest()
    assert raw[:4] == name[:4]
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public.signing)).verify(raw[4:], (text + "\n").encode())
    assert read_head(Note.parse(str(note))) == HEAD
    assert verify_note(note, NoteKey.of_log(HEAD.origin, key.public.signing))


def test_a_cosignature_says_when(key):
    note = cosign_head(HEAD, key, timestamp=1_679_315_147)
    verifier = NoteKey.of_witness(key.public.signing)
    assert verify_cosignature(Note.parse(str(note)), verifier) == 1_679_315_147
    assert not verify_note(note, verifier)  # a cosignature is no log signature
    raw = note.signatures[0][1]
    assert raw[4:12] == (1_679_315_147).to_bytes(8, "big")
    message = f"cosignature/v1\ntime 1679315147\n{HEAD.text}".encode()
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public.signing)).verify(raw[12:], message)
    later = raw[:4] + (1_679_315_148).to_bytes(8, "big") + raw[12:]
    assert verify_cosignature(Note(note.text, ((verifier.name, later),)), verifier) is None
    assert verify_cosignature(sign_head(HEAD, key), verifier) is None


def test_signatures_of_several_stand_under_one_text(key):
    other = KeyPair.generate("Witness")
    note = sign_head(HEAD, key).joined(cosign_head(HEAD, other, timestamp=5))
    assert verify_note(note, NoteKey.of_log(HEAD.origin, key.public.signing))
    assert verify_cosignature(note, NoteKey.of_witness(other.public.signing)) == 5
    assert note.joined(note) == note
    with pytest.raises(IntegrityError, match="different heads"):
        note.joined(sign_head(LogHead(HEAD.origin, 13, HEAD.root), key))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no signature\n",
        "text\n\n",
        "text\n\n— name\n",
        "text\n\n— na+me AAAA\n",
        "text\n\n— name not*base64\n",
        "text\n\n— name AAAA",
        "te\x00xt\n\n— name AAAA\n",
        "text\n\n" + "— name AAAA\n" * 65,
        "text\n\n- name AAAA\n",
    ],
)
def test_malformed_notes(text):
    with pytest.raises(IntegrityError):
        Note.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "origin\n12\n",
        "origin\n012\nAAAA\n",
        "origin\n12\nAAAA\n",
        "origin\n-1\n" + "A" * 43 + "=\n",
        "origin\nx\nAA==\n",
    ],
)
def test_malformed_checkpoints(text):
    with pytest.raises(IntegrityError):
        read_head(Note(text, ()))


@pytest.mark.parametrize("text", ["x", "a+b+c", VECTOR_KEY.replace("530d903a", "530d903b"), VECTOR_KEY[:-4]])
def test_malformed_keys(text):
    with pytest.raises(IntegrityError):
        NoteKey.parse(text)


def test_nothing_with_a_nul_is_signed_bare(key):
    with pytest.raises(IntegrityError, match="NUL"):
        key.sign_text(b"spiritsafe/certificate/1\0{}")


@pytest.mark.parametrize("y", [0, 1, 2**255 - 18])
def test_a_verifier_key_of_small_order_is_refused(y):
    with pytest.raises(IntegrityError, match="small order"):
        NoteKey.parse(str(NoteKey("weak", 4, y.to_bytes(32, "little"))))
    weak = NoteKey("weak", 1, y.to_bytes(32, "little"))
    note = Note("text\n", (("weak", weak.key_id + weak.public + bytes(32)),))
    assert not verify_note(note, weak)
