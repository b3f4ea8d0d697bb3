"""Keys: who signs, and who can open a sealed half.

In: a file that only its owner can read. Out: Ed25519 signatures (package ``cryptography``) and age decryption (package
``pyrage``). What is signed always starts with what it is for, so that a signature over a ledger entry can never pass
for one over a certificate.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self, final

import pyrage
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field

from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.errors import IntegrityError, RecipeError, SourceError, StorageError
from spiritsafe.core.files.atomic import ensure_directory, read_json, storage_errors
from spiritsafe.core.records import Record
from spiritsafe.core.text.names import LONGEST_NAME, is_plain, quoted_name, same_name
from spiritsafe.ledger.curve_points import is_encryption_key, is_signing_key
from spiritsafe.ledger.records import PublicKey, Signature

_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

SigningContext = Literal["ledger-entry", "ledger-head", "certificate", "rerun", "review", "overlap", "memory"]


class _KeyFile(Record):
    format: Literal["spiritsafe.key/1"] = "spiritsafe.key/1"
    holder: str
    signing_secret: str = Field(pattern=r"^[0-9a-f]{64}$")
    age_identity: str

    def __repr__(self) -> str:
        return f"_KeyFile(holder={self.holder!r})"

    __str__ = __repr__


def _framed(context: SigningContext, message: bytes) -> bytes:
    return f"spiritsafe/{context}/1\0".encode() + message


def refuse_shared_key(path: Path) -> None:
    """Refuse a private key that others than its owner can read.

    Raises:
        SourceError: They can.
    """
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SourceError(
            f"The key {path} can be read by others.",
            hint=f"Run `chmod 600 {path}`, and make a new key if others may have read it.",
        )


def write_key_file(path: Path, data: bytes) -> None:
    """Write a private key: mode 0600 from its first byte, whole or absent, never over another file.

    Raises:
        StorageError: It cannot be written, or there is a file already.
    """
    ensure_directory(path.parent)
    with storage_errors(path):
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mkstemp makes 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            os.unlink(temporary)
            raise
    try:
        os.link(temporary, path)  # unlike rename, refuses to replace
    except OSError as error:
        raise StorageError(
            f"The key {path} cannot be written: {error.strerror}.",
            hint="Keys are never overwritten: choose a new path, in a directory that is yours to write.",
        ) from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def create_key_once(path: Path, create: Callable[[], None]) -> None:
    """Have a key file written where there is none; of processes that do so at once, the first one's key stays.

    Args:
        create: Writes a new key to that path.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        if not path.exists():
            create()
    except StorageError:
        if not path.exists():  # else another process was first
            raise


@final
class KeyPair:
    """A private signing key and age identity; ``public`` is what others may know."""

    def __init__(self, file: _KeyFile) -> None:
        self._file = file
        self._signing = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(file.signing_secret))
        try:
            self._identity = pyrage.x25519.Identity.from_str(file.age_identity)
        except pyrage.IdentityError as error:
            raise IntegrityError(
                "The age identity of this key is damaged.", hint="Restore the key file from a copy."
            ) from error
        self.public = PublicKey(
            holder=file.holder,
            signing=self._signing.public_key().public_bytes_raw().hex(),
            recipient=str(self._identity.to_public()),
        )

    def __repr__(self) -> str:
        return f"KeyPair({self.public.label})"

    @classmethod
    def generate(cls, holder: str) -> Self:
        """New keys from the system's randomness.

        Args:
            holder: Name printed on certificates.
        """
        secret = Ed25519PrivateKey.generate().private_bytes_raw().hex()
        identity = str(pyrage.x25519.Identity.generate())
        return cls(_KeyFile(holder=holder, signing_secret=secret, age_identity=identity))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key file.

        Raises:
            SourceError: It is missing, or others than its owner can read it.
            IntegrityError: It is damaged.
        """
        value = read_json(path)
        refuse_shared_key(path)
        return cls(_KeyFile.from_json(value))

    @classmethod
    def load_or_create(cls, path: Path, *, holder: str) -> Self:
        """The key in ``path``; a new one is made and saved there if there is none.

        Raises:
            SourceError: The file is there but unusable.
            RecipeError: A new key cannot carry this name.
            StorageError: It cannot be written.
        """
        if not path.exists() and not is_plain(holder):
            raise RecipeError(
                f"A key's holder cannot be called {quoted_name(holder)}.",
                hint=f"Give a name of at most {LONGEST_NAME} characters, all of them to be seen, with single spaces.",
            )
        create_key_once(path, lambda: cls.generate(holder).save(path))
        return cls.load(path)

    def save(self, path: Path) -> None:
        """Write the key file: mode 0600 from its first byte, whole or absent, never over another file.

        Raises:
            StorageError: It cannot be written, or there is a file already.
        """
        write_key_file(path, canonical_json(self._file.to_json()))

    def sign(self, context: SigningContext, message: bytes) -> Signature:
        """Sign ``message`` for one use."""
        return Signature(key=self.public.signing, value=self._signing.sign(_framed(context, message)).hex())

    def sign_text(self, text: bytes) -> bytes:
        """A bare Ed25519 signature over a text, as other tools' formats want it.

        Raises:
            IntegrityError: The text holds a NUL: it could pass for what :meth:`sign` signs, which always does.
        """
        if b"\0" in text:
            raise IntegrityError("A text with a NUL in it is not signed.", hint="Sign text only.")
        return self._signing.sign(text)

    def decrypt(self, data: bytes) -> bytes:
        """Open what was encrypted to this key's recipient.

        Raises:
            IntegrityError: It was encrypted to others, or is damaged.
        """
        try:
            return bytes(pyrage.decrypt(data, [self._identity]))
        except pyrage.DecryptError as error:
            raise IntegrityError(
                f"{self.public.label} cannot open this: {error}.",
                hint="Use the key it was sealed to; if this is the one, the file is damaged: restore it from a copy.",
            ) from error


def encrypt(data: bytes, recipients: Sequence[PublicKey]) -> bytes:
    """Encrypt to one or several recipients; each can open it alone (age v1).

    Raises:
        IntegrityError: A recipient is none, or of small order, so that everybody could open the file.
    """
    for key in recipients:
        try:
            pyrage.x25519.Recipient.from_str(key.recipient)
        except pyrage.RecipientError as error:
            raise _no_recipient(key) from error
        if not is_encryption_key(_recipient_bytes(key.recipient)):
            raise _no_recipient(key)
    return bytes(pyrage.encrypt(data, [pyrage.x25519.Recipient.from_str(key.recipient) for key in recipients]))


def _no_recipient(key: PublicKey) -> IntegrityError:
    return IntegrityError(
        f"Nothing can be encrypted to {key.label}: its age recipient is no sound key.",
        hint="Ask for a key file that `spiritsafe exam key` made.",
    )


def _recipient_bytes(recipient: str) -> bytes:
    """The 32 bytes in an age recipient (bech32, whose checksum was looked at before)."""
    digits = recipient.removeprefix("age1")[:-6]
    value = sum(_BECH32.index(digit) << 5 * place for place, digit in enumerate(reversed(digits)))
    return (value >> 4).to_bytes(32, "big")  # 52 digits are 260 bits: four of them are padding


def count_recipients(data: bytes) -> int:
    """How many recipients can open an age file, each alone; its header says so in the clear, but not who they are.

    Raises:
        IntegrityError: It is no age file, or it can be opened otherwise than with such a key.
    """
    header, end, _ = data.partition(b"\n---")
    lines = header.split(b"\n")
    kinds = [line.split(b" ")[1] for line in lines if line.startswith(b"-> ")]
    kinds = [kind for kind in kinds if not kind.endswith(b"-grease")]  # age's own padding opens nothing
    if lines[0] != b"age-encryption.org/v1" or not end or set(kinds) != {b"X25519"}:
        raise IntegrityError(
            "This is no file that only age keys open.", hint="Ask the one who sealed it for a good copy."
        )
    return len(kinds)


def verify_signature(signature: Signature, context: SigningContext, message: bytes) -> bool:
    """Whether the signature is its key's over ``message`` for this use."""
    return verify_text(bytes.fromhex(signature.key), bytes.fromhex(signature.value), _framed(context, message))


def verify_text(public: bytes, signature: bytes, text: bytes) -> bool:
    """Whether a bare Ed25519 signature is this key's; never under a key of small order, or written in a second way."""
    if not is_signing_key(public):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def same_holder(a: PublicKey, b: PublicKey) -> bool:
    """Whether two keys count as one party: the same key, or holders whose names look the same."""
    return a.signing == b.signing or same_name(a.holder, b.holder)


def one_a_holder(keys: Sequence[PublicKey]) -> list[PublicKey]:
    """The first key of each holder."""
    return [key for place, key in enumerate(keys) if not any(same_holder(key, other) for other in keys[:place])]


def same_spelling(a: PublicKey, b: PublicKey) -> bool:
    """The same as older versions saw it, whose certificates hold: what only looks the same differs."""
    return a.signing == b.signing or a.holder.strip().casefold() == b.holder.strip().casefold()
