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
        FileCertificate,
        FileDivergence,
        Release,
        ReleasedExam,
        ReleasedFile,
        ReleaseDuty,
    )
    from spiritsafe.release.push import PushPlan, plan_push, push_release
    from spiritsafe.release.signing import SigningKey, VerifyingKey
    from spiritsafe.release.texts.modelfile import RecognisedChat, recognise_chat
    from spiritsafe.release.verification.verify import RELEASE_STEPS, require_release, verify_release
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "RELEASE_STEPS", "FileCertificate", "FileDivergence", "PushPlan", "RecognisedChat", "Release", "ReleaseDuty",
    "ReleasePlan", "ReleasedExam", "ReleasedFile", "SigningKey", "VerifyingKey", "plan_push", "push_release",
    "recognise_chat", "require_release", "verify_release", "write_release",
]  # fmt: skip
