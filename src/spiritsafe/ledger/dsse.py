"""DSSE v1 envelopes (Dead Simple Signing Envelope), in which in-toto statements are signed.

In: a payload and what signs it. Out: the envelope as JSON, and back. Which key signs is the caller's business: an
exam's statements are signed with Ed25519, releases with ECDSA.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, final

from pydantic import Field

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.records import Record

IN_TOTO_STATEMENT = "https://in-toto.io/Statement/v1"
IN_TOTO_PAYLOAD = "application/vnd.in-toto+json"


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """What a DSSE v1 signature is over: type and payload with their lengths in bytes."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign_envelope(payload: bytes, sign: Callable[[bytes], bytes], *, key_id: str) -> dict[str, JSON]:
    """An envelope around an in-toto statement.

    Args:
        payload: The statement's bytes.
        sign: Gives the signature over a text.
        key_id: A hint at the key; nothing is decided by it.
    """
    signature = sign(pre_authentication(IN_TOTO_PAYLOAD, payload))
    return {
        "payloadType": IN_TOTO_PAYLOAD,
        "payload": base64.b64encode(payload).decode("ascii"),
        "signatures": [{"keyid": key_id, "sig": base64.b64encode(signature).decode("ascii")}],
    }


@final
class EnvelopeSignature(Record):
    """One signature of an envelope, in Base64."""

    sig: str
    keyid: str = ""


@final
class Envelope(Record):
    """An envelope as it is read; everything in Base64 still."""

    payloadType: str  # as the specification spells it
    payload: str
    signatures: Sequence[EnvelopeSignature] = Field(min_length=1)

    def decoded(self) -> tuple[bytes, bytes]:
        """The payload, and the first signature.

        Raises:
            IntegrityError: One is no Base64, or not the only Base64 text of its bytes.
        """
        return _decoded(self.payload, "payload"), _decoded(self.signatures[0].sig, "signature")


def _decoded(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if base64.b64encode(data).decode("ascii") != text:
        raise IntegrityError(
            f"The envelope's {what} is not Base64.", hint="It was altered or damaged: get a good copy."
        )
    return data


def read_envelope(value: Any) -> Envelope:
    """An envelope of a JSON value.

    Raises:
        IntegrityError: It is none, or not around an in-toto statement.
    """
    envelope = Envelope.from_json(value)
    if envelope.payloadType != IN_TOTO_PAYLOAD:
        raise IntegrityError(
            f"The envelope holds {envelope.payloadType[:80]!r}, not an in-toto statement.",
            hint="It was altered or damaged: get a good copy.",
        )
    return envelope
