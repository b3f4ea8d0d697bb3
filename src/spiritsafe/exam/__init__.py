"""The exam room: papers that nobody can study for, sittings on record, certificates a stranger can check.

``seal → register → sit → verify``, then ``compare`` and ``rerun``. Needs neither torch nor transformers.
"""

from __future__ import annotations

from spiritsafe.exam.comparing import compare
from spiritsafe.exam.paper import PAPER_FILE, SEALED_FILE, load_paper, seal
from spiritsafe.exam.registration import find_registration, register, withdraw
from spiritsafe.exam.rerunning import load_rerun, rerun
from spiritsafe.exam.sitting import ANSWERS_FILE, CERTIFICATE_FILE, RESULT_FILE, sit
from spiritsafe.exam.verifying import VERIFY_STEPS, StepResult, VerifyStep, load_certificate, require_verified, verify

__all__ = [
    "ANSWERS_FILE",
    "CERTIFICATE_FILE",
    "PAPER_FILE",
    "RESULT_FILE",
    "SEALED_FILE",
    "VERIFY_STEPS",
    "StepResult",
    "VerifyStep",
    "compare",
    "find_registration",
    "load_certificate",
    "load_paper",
    "load_rerun",
    "register",
    "require_verified",
    "rerun",
    "seal",
    "sit",
    "verify",
    "withdraw",
]
