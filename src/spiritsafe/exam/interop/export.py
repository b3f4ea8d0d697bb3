"""Certificates in the schemas of others: a format is a file with ``export`` and a row here, which commands iterate.

In: a certificate and the name of a format. Out: its JSON, and a line that says what was written, or nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from spiritsafe.core.canonical import JSON
from spiritsafe.ledger import KeyPair

if TYPE_CHECKING:  # the names of the formats are asked for where no record is needed
    from spiritsafe.exam.records.certificate import Certificate

EXPORT_FORMATS = {
    "in-toto": "spiritsafe.exam.interop.in_toto",
    "every-eval-ever": "spiritsafe.exam.interop.every_eval_ever",
}


def export_certificate(certificate: Certificate, kind: str, signer: KeyPair | None) -> tuple[dict[str, JSON], str]:
    """A verified certificate in a format, and what to say of it.

    Raises:
        RecipeError: It was to be signed, and the format has no signatures.
    """
    export = importlib.import_module(EXPORT_FORMATS[kind]).export
    written: tuple[dict[str, JSON], str] = export(certificate, signer)
    return written
