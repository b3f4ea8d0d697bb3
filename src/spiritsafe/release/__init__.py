"""Releases: files, exams and duties become one signed directory, which a stranger verifies offline.

:class:`ReleasePlan` says what goes in, :func:`write_release` writes and signs the directory, :func:`verify_release`
checks it with the light install. Needs neither torch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.release.assemble import ReleasePlan, write_release
    from spiritsafe.release.contents import (
        Divergence,
        FileCertificate,
        Release,
        ReleasedExam,
        ReleasedFile,
        ReleaseDuty,
    )
    from spiritsafe.release.signing import SigningKey, VerifyingKey
    from spiritsafe.release.texts.modelfile import RecognisedChat, recognise_chat
    from spiritsafe.release.verification.verify import RELEASE_STEPS, require_release, verify_release
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "RELEASE_STEPS", "Divergence", "FileCertificate", "RecognisedChat", "Release", "ReleaseDuty", "ReleasePlan",
    "ReleasedExam", "ReleasedFile", "SigningKey", "VerifyingKey", "recognise_chat", "require_release",
    "verify_release", "write_release",
]  # fmt: skip
