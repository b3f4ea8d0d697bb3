"""The exam room: papers that nobody can study for, sittings on record, certificates a stranger can check.

``seal → register → sit → verify``, then ``compare`` and ``rerun``; ``exposures`` says who has seen what, ``reveal``
opens one answer in a dispute, ``reissue`` counts edited grades in, ``open_paper`` retires a paper. Needs neither torch
nor transformers.
"""

from __future__ import annotations

from spiritsafe.exam.comparing import compare
from spiritsafe.exam.countersigning import counter_signers, separation_words
from spiritsafe.exam.disputed import disputes_of
from spiritsafe.exam.disputing import accept_dispute, file_dispute, reject_dispute
from spiritsafe.exam.exposure import PartyExposure, exposures, summarise
from spiritsafe.exam.forecasting import outlook
from spiritsafe.exam.opening import load_opened, open_paper, publish_answers
from spiritsafe.exam.paper import PAPER_FILE, SEALED_FILE, load_paper, task_of_paper
from spiritsafe.exam.private import PrivateTask, load_private, sign_off
from spiritsafe.exam.registration import (
    RegistrationTerms,
    find_registration,
    register,
    registration_states,
    withdraw,
)
from spiritsafe.exam.reissuing import reissue
from spiritsafe.exam.rerunning import load_rerun, rerun
from spiritsafe.exam.revealing import load_revealed, reveal
from spiritsafe.exam.sealing import PaperTerms, seal
from spiritsafe.exam.sitting import ANSWERS_FILE, CERTIFICATE_FILE, RESULT_FILE, sit
from spiritsafe.exam.verifying import VERIFY_STEPS, StepResult, VerifyStep, load_certificate, require_verified, verify

__all__ = [
    "ANSWERS_FILE",
    "CERTIFICATE_FILE",
    "PAPER_FILE",
    "RESULT_FILE",
    "SEALED_FILE",
    "VERIFY_STEPS",
    "PaperTerms",
    "PartyExposure",
    "PrivateTask",
    "RegistrationTerms",
    "StepResult",
    "VerifyStep",
    "accept_dispute",
    "compare",
    "counter_signers",
    "disputes_of",
    "exposures",
    "file_dispute",
    "find_registration",
    "load_certificate",
    "load_opened",
    "load_paper",
    "load_private",
    "load_rerun",
    "load_revealed",
    "open_paper",
    "outlook",
    "publish_answers",
    "register",
    "registration_states",
    "reissue",
    "reject_dispute",
    "require_verified",
    "rerun",
    "reveal",
    "seal",
    "separation_words",
    "sign_off",
    "sit",
    "summarise",
    "task_of_paper",
    "verify",
    "withdraw",
]
