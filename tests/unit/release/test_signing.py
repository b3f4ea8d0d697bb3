"""OpenSSF Model Signing: the reference program accepts what we sign, we accept what it signs, every byte is guarded."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from spiritsafe.core.errors import IntegrityError, SourceError, SpiritsafeError, StorageError
from spiritsafe.release import SigningKey, VerifyingKey
from spiritsafe.release.signing import read_signature, read_signature_file, sign_files

CONTENT = {"config.json": b"{}", "a.b": b"1", "a/b": b"2", "sub/ü x.bin": b"3" * 3000, "weights.gguf": b"GGUF"}
"""Sorted by parts, "a/b" stands before "a.b"; by letters behind."""


def make_directory(root: Path) -> dict[str, str]:
    for path, data in CONTENT.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return {path: hashlib.sha256(data).hexdigest() for path, data in CONTENT.items()}


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def reference(recwarn: pytest.WarningsRecorder) -> Any:
    return pytest.importorskip("model_signing", reason="the reference program is not installed")


def reference_accepts(reference: Any, directory: Path, public: Path, signature: Path) -> None:
    config = reference.verifying.Config().use_elliptic_key_verifier(public_key=public)
    config.verify(directory, signature)


@pytest.mark.filterwarnings("default")
def test_the_reference_accepts_ours_and_names_what_changed(reference: Any, tmp_path: Path, key: SigningKey) -> None:
    model = tmp_path / "model"
    signature, public = model / "model.sig", tmp_path / "key.pem"
    digests = make_directory(model)
    signature.write_bytes(sign_files("model", digests, key, ignored=["model.sig", ".cache"]))
    public.write_bytes(key.public.pem)
    reference_accepts(reference, model, public, signature)
    (model / ".cache").mkdir()
    (model / ".cache" / "download").write_text("x")
    reference_accepts(reference, model, public, signature)
    (model / "a/b").write_bytes(b"5")
    with pytest.raises(ValueError, match="a/b"):
        reference_accepts(reference, model, public, signature)


@pytest.mark.filterwarnings("default")
def test_the_reference_accepts_a_release_as_a_hub_gives_it_out(reference: Any, released: Any, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(released.directory, tmp_path / "download"))
    (directory / ".gitattributes").write_text("*.gguf filter=lfs\n")
    (directory / ".cache" / "huggingface").mkdir(parents=True)
    (directory / ".cache" / "huggingface" / "x.metadata").write_text("1")
    reference_accepts(reference, directory, directory / "signing-key.pem", directory / "model.sig")
    (directory / "NOTICE").write_text("mine")
    with pytest.raises(ValueError, match="NOTICE"):
        reference_accepts(reference, directory, directory / "signing-key.pem", directory / "model.sig")


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_ours_accepts_the_references(reference: Any, tmp_path: Path, curve: ec.EllipticCurve) -> None:
    model = tmp_path / "model"
    digests = make_directory(model)
    private = ec.generate_private_key(curve)
    place = tmp_path / "key.pem"
    place.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    signature = model / "model.sig"
    hashing = reference.hashing.Config().set_ignored_paths(paths=[signature])
    config = reference.signing.Config().use_elliptic_key_signer(private_key=place).set_hashing_config(hashing)
    config.sign(model, signature)
    said = read_signature_file(signature)
    said.require_signed(VerifyingKey(private.public_key()))
    assert said.is_exact
    assert said.files == digests
    assert said.name == "model"
    place.chmod(0o600)
    assert SigningKey.load(place).public.fingerprint == said.hint


def test_each_byte_of_the_signature_is_guarded(key: SigningKey) -> None:
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in CONTENT.items()}
    data = sign_files("model", digests, key, ignored=["model.sig"])
    read_signature(data, "model.sig").require_signed(key.public)

    def holds(changed: bytes) -> bool:
        try:
            said = read_signature(changed, "model.sig")
            said.require_signed(key.public)
        except SpiritsafeError:
            return False
        return said.is_exact

    assert holds(data)
    for place in range(len(data)):
        for bit in (1, 0x20):
            changed = bytearray(data)
            changed[place] ^= bit
            assert not holds(bytes(changed)), place
    assert not holds(data + b"\n")
    assert not holds(data.replace(b":", b": ", 1))


def test_another_key_did_not_sign(key: SigningKey) -> None:
    said = read_signature(sign_files("m", {"a": "0" * 64}, key), "model.sig")
    other = SigningKey.generate().public
    with pytest.raises(IntegrityError, match=f"of the key {key.public.fingerprint}, not of {other.fingerprint}"):
        said.require_signed(other)


def _resource(name: str) -> Callable[[Any], None]:
    def change(statement: Any) -> None:
        statement["predicate"]["resources"][0]["name"] = name

    return change


def _set(*path: str, value: Any) -> Callable[[Any], None]:
    def change(statement: Any) -> None:
        for part in path[:-1]:
            statement = statement[part]
        statement[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_resource("../../etc/passwd"), "no path inside"),
        (_resource("/etc/passwd"), "no path inside"),
        (_resource("a/./b"), "no path inside"),
        (_resource("a\\b"), "no path inside"),
        (_resource("a\0b"), "no path inside"),
        (_resource("b"), "names a file twice"),
        (_set("predicate", "serialization", "allow_symlinks", value=True), "allow_symlinks"),
        (_set("predicate", "serialization", "method", value="shards"), "method"),
        (_set("predicateType", value="https://slsa.dev/provenance/v1"), "predicateType"),
        (_set("subject", value=[]), "subject"),
        (lambda statement: statement["predicate"]["resources"].pop(), "does not add up"),
    ],
)
def test_a_statement_that_was_made_to_deceive(
    monkeypatch: pytest.MonkeyPatch, key: SigningKey, change: Any, words: str
) -> None:
    from spiritsafe.release import signing

    def forged(statement: Any) -> bytes:
        change(statement)
        return json.dumps(statement).encode()

    monkeypatch.setattr(signing, "canonical_json", forged)
    data = sign_files("m", {"a": "0" * 64, "b": "1" * 64}, key)
    with pytest.raises(IntegrityError, match=words):
        read_signature(data, "model.sig")


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{", b"[" * 100_000, b'{"mediaType": 1}', b"\xff", b"null", b'{"a":' * 2000 + b"1" + b"}" * 2000],
)
def test_garbage_is_no_signature(data: bytes) -> None:
    with pytest.raises(SpiritsafeError):
        read_signature(data, "model.sig")


def test_keys_are_files_of_their_owner(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "release.pem"
    made = SigningKey.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.load_or_create(path).public.fingerprint == made.public.fingerprint
    assert made.public.fingerprint[:16] in repr(made)
    with pytest.raises(StorageError, match="cannot be written"):
        made.save(path)
    public = tmp_path / "public.pem"
    public.write_bytes(made.public.pem)
    assert VerifyingKey.load(public).fingerprint == made.public.fingerprint
    with pytest.raises(IntegrityError, match="no public key"):
        VerifyingKey.load(path)
    path.chmod(0o644)
    with pytest.raises(SourceError, match="can be read by others"):
        SigningKey.load(path)


@pytest.mark.parametrize(
    "private", [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1())], ids=["Ed25519", "k1"]
)
def test_keys_of_other_kinds_are_refused(tmp_path: Path, private: Any) -> None:
    encryption = serialization.NoEncryption()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    locked = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")
    )
    for data in (pem, b"", locked):
        path = tmp_path / "key.pem"
        path.write_bytes(data)
        path.chmod(0o600)
        with pytest.raises(IntegrityError, match="no private key"):
            SigningKey.load(path)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(IntegrityError, match="no public key"):
        VerifyingKey.parse(public, "it")
