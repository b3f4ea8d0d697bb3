"""OpenSSF Model Signing (OMS) v1.0: one detached signature over every file of a directory.

In: files with their digests, and an EC P-256 key in a PEM file. Out: ``model.sig``, a Sigstore bundle: a DSSE envelope
around an in-toto statement with the SHA-256 of every file, byte for byte what the package ``model-signing`` 1.1 writes
and reads (``model_signing verify key DIR --signature DIR/model.sig --public_key KEY``). The specification:
https://github.com/ossf/model-signing-spec. The keys of the exam room are Ed25519, which it does not know.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self, final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import StringConstraints

from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.files.reading import parse_json, read_bytes
from spiritsafe.core.records import Hex32, Record
from spiritsafe.core.text.safe_text import one_line
from spiritsafe.ledger import (
    IN_TOTO_STATEMENT,
    create_key_once,
    pre_authentication,
    read_envelope,
    refuse_shared_key,
    sign_envelope,
    write_key_file,
)

MOST_SIGNATURE_BYTES = 64 << 20
_MOST_KEY_BYTES = 1 << 16
_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PREDICATE = "https://model_signing/signature/v1.0"
_PAYLOAD = "application/vnd.in-toto+json"
_GOOD_COPY = "It was altered or damaged: get the release again from who made it."
_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}
"""By curve, as Sigstore's specification has them."""


@final
class VerifyingKey:
    """The public half of a signing key.

    Attributes:
        pem: As it stands in a file.
        fingerprint: Hex SHA-256 over that: what people compare, and what a signature's hint says.
    """

    def __init__(self, public: ec.EllipticCurvePublicKey) -> None:
        self._public = public
        self.pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.fingerprint = hashlib.sha256(self.pem).hexdigest()

    @classmethod
    def parse(cls, data: bytes, what: str) -> Self:
        """A key of a PEM file's bytes.

        Raises:
            IntegrityError: They are none of a curve that OMS knows.
        """
        try:
            public = serialization.load_pem_public_key(data)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            public = None
        if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name not in _HASHES:
            raise IntegrityError(
                f"{what} is no public key for model signing.",
                hint="It is a PEM file with an EC public key, as `spiritsafe release key` writes one.",
            )
        return cls(public)

    @classmethod
    def load(cls, path: Path) -> Self:
        """A key of a file, or of a pipe that the user handed over.

        Raises:
            SourceError: It cannot be read.
            IntegrityError: It holds none.
        """
        return cls.parse(read_bytes(path, most_bytes=_MOST_KEY_BYTES, is_typed=True), str(path))

    def verifies(self, signature: bytes, text: bytes) -> bool:
        """Whether the signature is this key's over the text."""
        try:
            self._public.verify(signature, text, ec.ECDSA(_HASHES[self._public.curve.name]()))
        except InvalidSignature:
            return False
        return True


@final
class SigningKey:
    """A private EC P-256 key that signs releases; ``public`` is what goes along with them."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        self.public = VerifyingKey(private.public_key())

    def __repr__(self) -> str:
        return f"SigningKey({self.public.fingerprint[:16]})"

    @classmethod
    def generate(cls) -> Self:
        """A new one from the system's randomness."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a PEM file.

        Raises:
            SourceError: It is missing, or others than its owner can read it.
            IntegrityError: It holds no such key, or an encrypted one.
        """
        data = read_bytes(path, most_bytes=_MOST_KEY_BYTES)
        refuse_shared_key(path)
        try:
            private = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
            private = None
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name not in _HASHES:
            raise IntegrityError(
                f"{path} holds no private key for model signing.",
                hint="Make one with `spiritsafe release key FILE`: an EC P-256 key in PEM, not encrypted.",
            )
        return cls(private)

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """The key in a file; a new one is made and saved there if there is none.

        Raises:
            SourceError: The file is there but unusable.
            StorageError: It cannot be written.
        """
        create_key_once(path, lambda: cls.generate().save(path))
        return cls.load(path)

    def save(self, path: Path) -> None:
        """Write the private key: mode 0600, never over another file.

        Raises:
            StorageError: It cannot be written, or there is a file already.
        """
        pem = self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_key_file(path, pem)

    def sign_bytes(self, text: bytes) -> bytes:
        """An ECDSA signature over a text, in DER."""
        return self._private.sign(text, ec.ECDSA(_HASHES[self._private.curve.name]()))


class _KeyHint(Record):
    hint: str


class _Material(Record):
    publicKey: _KeyHint
    tlogEntries: tuple[()] = ()


class _Bundle(Record):
    mediaType: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]
    verificationMaterial: _Material
    dsseEnvelope: dict[str, Any]


class _Sha256(Record):
    sha256: Hex32


class _Subject(Record):
    name: str
    digest: _Sha256


class _Resource(Record):
    name: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    digest: Hex32
    algorithm: Literal["sha256"]


class _Serialization(Record):
    method: Literal["files"]
    hash_type: Literal["sha256"]
    allow_symlinks: Literal[False]
    ignore_paths: tuple[str, ...] = ()


class _Predicate(Record):
    serialization: _Serialization
    resources: tuple[_Resource, ...]


class _Statement(Record):
    type: Literal["https://in-toto.io/Statement/v1"]
    subject: tuple[_Subject]
    predicateType: Literal["https://model_signing/signature/v1.0"]
    predicate: _Predicate


@final
@dataclass(frozen=True, slots=True)
class SignedManifest:
    """What a signature says of a directory, and what is needed to believe it.

    Attributes:
        name: Of the model; informative.
        files: SHA-256 of each file, hex, by its path.
        ignored: Paths that are not looked at.
        hint: Fingerprint of the key.
        is_exact: The file is byte for byte as ``model-signing`` writes it, so that no byte of it can change unseen.
    """

    name: str
    files: Mapping[str, str]
    ignored: tuple[str, ...]
    hint: str
    is_exact: bool
    signature: bytes
    payload: bytes

    def require_signed(self, key: VerifyingKey) -> None:
        """Check the signature.

        Raises:
            IntegrityError: It is not this key's.
        """
        if self.hint and self.hint != key.fingerprint:
            raise IntegrityError(
                f"The signature is of the key {self.hint[:64]}, not of {key.fingerprint}.",
                hint="Ask the maker, on another way than this release came, which key is theirs.",
            )
        if not key.verifies(self.signature, pre_authentication(_PAYLOAD, self.payload)):
            raise IntegrityError("The signature is not that key's over what stands here.", hint=_GOOD_COPY)


def root_digest(digests: Iterable[str]) -> str:
    """Hex SHA-256 over the digests of all files, in their order: names the whole."""
    hasher = hashlib.sha256()
    for one in digests:
        hasher.update(bytes.fromhex(one))
    return hasher.hexdigest()


def sign_files(name: str, files: Mapping[str, str], key: SigningKey, *, ignored: Iterable[str] = ()) -> bytes:
    """The bytes of ``model.sig``.

    Args:
        name: Of the model.
        files: Hex SHA-256 by path.
        ignored: Paths that nobody has to look at; the signature file itself among them.
    """
    ordered = sorted(files, key=PurePosixPath)  # by their parts, as the specification's own program sorts
    statement: dict[str, Any] = {
        "_type": IN_TOTO_STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": root_digest(files[path] for path in ordered)}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": sorted(ignored),
            },
            "resources": [{"name": path, "digest": files[path], "algorithm": "sha256"} for path in ordered],
        },
    }
    envelope: Any = sign_envelope(canonical_json(statement), key.sign_bytes, key_id="")
    return _exact_form(key.public.fingerprint, envelope)


def _exact_form(hint: str, envelope: Mapping[str, Any]) -> bytes:
    """A bundle in the order and spacing in which ``model-signing`` writes it."""
    bundle = {
        "mediaType": _BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": envelope["payload"],
            "payloadType": envelope["payloadType"],
            "signatures": [{"sig": one["sig"], "keyid": one["keyid"]} for one in envelope["signatures"]],
        },
    }
    return json.dumps(bundle, separators=(",", ":")).encode("ascii")


def read_signature(data: bytes, what: str) -> SignedManifest:
    """The content of ``model.sig``; nothing is believed yet (:meth:`SignedManifest.require_signed`).

    Raises:
        SourceError: It is no JSON.
        IntegrityError: It is no bundle of an OMS signature with a key, or its names lead out of the directory.
    """
    bundle = _Bundle.from_json(parse_json(data, what, hint=_GOOD_COPY))
    envelope = read_envelope(bundle.dsseEnvelope)
    if len(envelope.signatures) != 1:
        raise IntegrityError(f"{what} has {len(envelope.signatures)} signatures, not one.", hint=_GOOD_COPY)
    payload, signature = envelope.decoded()
    value = parse_json(payload, f"the statement in {what}", hint=_GOOD_COPY)
    if isinstance(value, dict) and "_type" in value:
        value = {"type": value.pop("_type"), **value}  # pydantic has no field of such a name
    said = _Statement.from_json(value)
    files = {_safe(one.name, what): one.digest for one in said.predicate.resources}
    if len(files) < len(said.predicate.resources):
        raise IntegrityError(f"{what} names a file twice.", hint=_GOOD_COPY)
    (subject,) = said.subject
    if root_digest(files.values()) != subject.digest.sha256:
        raise IntegrityError(f"{what} does not add up: its files' digests give another one.", hint=_GOOD_COPY)
    hint = bundle.verificationMaterial.publicKey.hint
    return SignedManifest(
        name=subject.name,
        files=files,
        ignored=said.predicate.serialization.ignore_paths,
        hint=hint,
        is_exact=_exact_form(hint, envelope.to_json()) == data,
        signature=signature,
        payload=payload,
    )


def _safe(name: str, what: str) -> str:
    """A path that stays inside."""
    parts = name.split("/")
    if "\0" in name or "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise IntegrityError(
            f"{what} names {one_line(name[:200])!r}, which is no path inside the release.",
            hint="Somebody built it to reach other files: do not use it.",
        )
    return name


def read_signature_file(path: Path) -> SignedManifest:
    """The same of a file.

    Raises:
        SourceError: It is missing, cannot be read, or is too large.
        IntegrityError: It is no such signature.
    """
    if path.is_symlink():
        raise SourceError(f"{path} is a link.", hint="Get the release again from who made it.")
    return read_signature(read_bytes(path, most_bytes=MOST_SIGNATURE_BYTES), path.name)
