"""The exam room: papers that nobody can study for, sittings on record, certificates a stranger can check.

``seal → register → sit → verify``, then ``compare`` and ``rerun``; ``exposures`` says who has seen what, ``reveal``
opens one answer in a dispute, ``reissue`` counts edited grades in, ``open_paper`` retires a paper; ``overlap`` looks
for problems in training files and ``memory`` in log-probabilities. Other tools' logs come in as practice
(:mod:`~spiritsafe.exam.practice`), certificates go out in other schemas (:mod:`~spiritsafe.exam.intoto`,
:mod:`~spiritsafe.exam.every_eval`). Needs neither torch nor transformers.
"""

from __future__ import annotations

from spiritsafe.exam.comparing import compare
from spiritsafe.exam.countersigning import counter_signers, separation_words
from spiritsafe.exam.deciding import check_reached
from spiritsafe.exam.difficulties import checked_certificates, items_lines, learn_items, one_a_model
from spiritsafe.exam.disputed import disputes_of
from spiritsafe.exam.disputing import accept_dispute, file_dispute, reject_dispute
from spiritsafe.exam.every_eval import every_eval_record
from spiritsafe.exam.exposure import PartyExposure, exposures, summarise, unconfirmed
from spiritsafe.exam.forecasting import outlook
from spiritsafe.exam.foreign_counts import ForeignCounts, foreign_lines, foreign_test, read_foreign
from spiritsafe.exam.inspect_log import read_inspect_log
from spiritsafe.exam.intoto import in_toto_statement, sign_dsse
from spiritsafe.exam.labels import full_labels
from spiritsafe.exam.lapsing import USUAL_DAYS, lapse
from spiritsafe.exam.lm_eval_log import read_lm_eval_samples
from spiritsafe.exam.opening import load_opened, open_paper, publish_answers
from spiritsafe.exam.overlapping import MOST_OVERLAPS, OverlapTerms, count_overlaps, overlap
from spiritsafe.exam.paper import PAPER_FILE, SEALED_FILE, load_paper, task_of_paper
from spiritsafe.exam.practice import (
    PRACTICE_STATEMENT,
    PracticeRun,
    compare_practice,
    load_practice,
    score_practice,
    write_practice,
)
from spiritsafe.exam.private import PrivateTask, load_private, sign_off
from spiritsafe.exam.reach import Reach
from spiritsafe.exam.registered import ignored_words, malformed_registrations, registrations_of
from spiritsafe.exam.registration import (
    RegistrationTerms,
    find_registration,
    register,
    registration_states,
    withdraw,
)
from spiritsafe.exam.reissuing import reissue
from spiritsafe.exam.remembering import memory
from spiritsafe.exam.rerunning import file_rerun, load_rerun, rerun
from spiritsafe.exam.revealing import load_revealed, reveal
from spiritsafe.exam.sealing import PaperTerms, seal
from spiritsafe.exam.shortening import ShorterTerms, shorter_statement
from spiritsafe.exam.sitting import ANSWERS_FILE, CERTIFICATE_FILE, RESULT_FILE, sit
from spiritsafe.exam.trust import trust_lines, trust_page
from spiritsafe.exam.verifying import (
    VERIFY_STEPS,
    StepResult,
    Verification,
    VerifyStep,
    load_certificate,
    require_verified,
    verification_of,
    verify,
)

__all__ = [
    "ANSWERS_FILE",
    "CERTIFICATE_FILE",
    "MOST_OVERLAPS",
    "PAPER_FILE",
    "PRACTICE_STATEMENT",
    "RESULT_FILE",
    "SEALED_FILE",
    "USUAL_DAYS",
    "VERIFY_STEPS",
    "ForeignCounts",
    "OverlapTerms",
    "PaperTerms",
    "PartyExposure",
    "PracticeRun",
    "PrivateTask",
    "Reach",
    "RegistrationTerms",
    "ShorterTerms",
    "StepResult",
    "Verification",
    "VerifyStep",
    "accept_dispute",
    "check_reached",
    "checked_certificates",
    "compare",
    "compare_practice",
    "count_overlaps",
    "counter_signers",
    "disputes_of",
    "every_eval_record",
    "exposures",
    "file_dispute",
    "file_rerun",
    "find_registration",
    "foreign_lines",
    "foreign_test",
    "full_labels",
    "ignored_words",
    "in_toto_statement",
    "items_lines",
    "lapse",
    "learn_items",
    "load_certificate",
    "load_opened",
    "load_paper",
    "load_practice",
    "load_private",
    "load_rerun",
    "load_revealed",
    "malformed_registrations",
    "memory",
    "one_a_model",
    "open_paper",
    "outlook",
    "overlap",
    "publish_answers",
    "read_foreign",
    "read_inspect_log",
    "read_lm_eval_samples",
    "register",
    "registration_states",
    "registrations_of",
    "reissue",
    "reject_dispute",
    "require_verified",
    "rerun",
    "reveal",
    "score_practice",
    "seal",
    "separation_words",
    "shorter_statement",
    "sign_dsse",
    "sign_off",
    "sit",
    "summarise",
    "task_of_paper",
    "trust_lines",
    "trust_page",
    "unconfirmed",
    "verification_of",
    "verify",
    "withdraw",
    "write_practice",
]
