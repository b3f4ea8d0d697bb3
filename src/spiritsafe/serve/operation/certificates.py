"""Certificates of the very bytes that answer: found beside them, verified, told with every answer.

In: a model that is served, and certificates that lie beside it with their papers and ledgers. Out: those that are of
the model's bytes, each verified offline as :mod:`spiritsafe.exam` does. One that does not verify, or that is said to be
the model's and names other bytes, stops the server before it answers anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from pydantic import JsonValue

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.files.record_files import read_record
from spiritsafe.core.serving import ServedModel
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam import Materials, verification_of
from spiritsafe.exam.records import Certificate

CERTIFICATE_HEADER = "spiritsafe-certificate"
"""Of every answer of a certified model: digests of its certificates, comma-separated."""


@final
@dataclass(frozen=True, kw_only=True)
class CertificateFiles:
    """A certificate and what it is verified with.

    Attributes:
        exam: What the exam is called there.
        is_models_own: It is said to be the model's; else it is looked at only where it names the model's bytes.
    """

    exam: str
    materials: Materials
    is_models_own: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class VerifiedCertificate:
    """A certificate that verifies and is of the bytes that answer."""

    exam: str
    certificate: Certificate

    @property
    def digest(self) -> str:
        """What it is known by."""
        return self.certificate.content_digest

    def told(self) -> dict[str, JsonValue]:
        """For the list of models."""
        result, predicted = self.certificate.result, self.certificate.result.predicted
        score = result.sealed.accuracy if predicted is None else predicted.score
        return {
            "digest": self.digest,
            "exam": self.exam,
            "task": self.certificate.paper.task,
            "paper": self.certificate.paper.paper_id,
            "score": score.value,
            "interval": [score.low, score.high],
            "confidence": score.confidence,
            "predicted": predicted is not None,
            "separation": self.certificate.separation,
            "verified": True,
        }


def verified_certificates(model: ServedModel, files: Sequence[CertificateFiles]) -> tuple[VerifiedCertificate, ...]:
    """The certificates among some that are of a model's bytes, verified.

    Raises:
        IntegrityError: One does not verify, or is said to be the model's and names other bytes.
        SourceError: A file of one cannot be read.
    """
    found = []
    for one in files:
        path = one.materials.certificate
        named = read_record(path, Certificate).result.model_digest
        if named != model.digest:
            if one.is_models_own:
                raise IntegrityError(
                    f"The certificate {path} is of {named}, and the model {quoted_name(model.name)} is {model.digest}.",
                    hint="One of the two was exchanged or changed: get both again from who made them.",
                )
            continue
        verification = verification_of(one.materials)
        failed = next((step for step in verification.steps if not step.ok), None)
        if failed is not None or verification.certificate is None:
            said = "it is none" if failed is None else f"step {failed.number} ({failed.name}): {failed.detail}"
            raise IntegrityError(
                f"The certificate {path} of the model {quoted_name(model.name)} does not verify: {said}",
                hint="Get it again from who made it; `spiritsafe exam verify` says more.",
            )
        found.append(VerifiedCertificate(exam=one.exam, certificate=verification.certificate))
    return tuple(found)


@final
class ModelCertificates:
    """What answers and lists tell of each model; plugged into the application's hooks.

    Args:
        certificates: By the digest of the bytes that they are of.
    """

    def __init__(self, certificates: Mapping[str, Iterable[VerifiedCertificate]]) -> None:
        self._told: dict[str, list[JsonValue]] = {}
        self._headers: dict[str, dict[str, str]] = {}
        for digest, ones in certificates.items():
            known = tuple(ones)
            self._told[digest] = [one.told() for one in known]
            if known:
                self._headers[digest] = {CERTIFICATE_HEADER: ", ".join(one.digest for one in known)}

    def headers(self, model: ServedModel) -> Mapping[str, str]:
        """Of each answer of the model."""
        return self._headers.get(model.digest, {})

    def facts(self, model: ServedModel) -> Mapping[str, JsonValue]:
        """Of the model's entry in the list: its first certificate, and all where there are several."""
        told = self._told.get(model.digest, [])
        return {"certificate": told[0] if told else None, **({"certificates": told} if len(told) > 1 else {})}
