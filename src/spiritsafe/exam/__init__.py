"""The exam room: papers that nobody can study for, sittings on record, certificates a stranger can check.

``seal → register → sit → verify``, then ``compare`` and ``rerun``; ``exposures`` says who has seen what, ``reveal``
opens one answer in a dispute, ``reissue`` counts edited grades in, ``open_paper`` retires a paper; ``overlap`` looks
for problems in training files and ``memory`` in log-probabilities. Other tools' logs come in as practice
(:mod:`~spiritsafe.exam.interop.practice`), certificates go out in other schemas
(:mod:`~spiritsafe.exam.interop.in_toto`, :mod:`~spiritsafe.exam.interop.every_eval_ever`). Needs neither torch nor
transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.exam.certified.comparison import compare
    from spiritsafe.exam.certified.item_bank import checked_certificates, items_lines, learn_items, one_a_model
    from spiritsafe.exam.certified.reissue import edits_told, reissue
    from spiritsafe.exam.certified.rerun import file_rerun, load_rerun, rerun
    from spiritsafe.exam.contamination.memorisation import memory
    from spiritsafe.exam.contamination.overlap import OverlapTerms, count_overlaps, overlap
    from spiritsafe.exam.contamination.reference_models import ForeignCounts, foreign_lines, foreign_test, read_foreign
    from spiritsafe.exam.entries.disputes import disputes_of
    from spiritsafe.exam.entries.exposure import PartyExposure, exposures, summarise, unconfirmed
    from spiritsafe.exam.entries.paper_log import Ignored, PaperLog
    from spiritsafe.exam.entries.registrations import (
        RegistrationEntry,
        find_registration,
        registration_states,
        registrations_of,
    )
    from spiritsafe.exam.interop.export import EXPORT_FORMATS, export_certificate
    from spiritsafe.exam.interop.graded_runs import GradedRun, read_run
    from spiritsafe.exam.interop.inspect_log import read_inspect_log
    from spiritsafe.exam.interop.lm_eval_log import read_lm_eval_samples
    from spiritsafe.exam.interop.paired_runs import PAIRED_COLUMNS, PairedRuns, PairedScores, compare_runs, paired_rows
    from spiritsafe.exam.interop.practice import (
        PRACTICE_STATEMENT,
        PracticeRun,
        compare_practice,
        load_practice,
        score_practice,
        write_practice,
    )
    from spiritsafe.exam.paper.files import PAPER_FILE, SEALED_FILE, load_paper, task_of_paper
    from spiritsafe.exam.paper.private import PrivateRow, PrivateTask, load_private, sign_off
    from spiritsafe.exam.paper.seal import PaperTerms, seal
    from spiritsafe.exam.registration.lapse import lapse
    from spiritsafe.exam.registration.outlook import outlook
    from spiritsafe.exam.registration.register import RegistrationTerms, register, withdraw
    from spiritsafe.exam.registration.short_form import ShorterTerms, shorter_statement
    from spiritsafe.exam.results.certificate import host_software, load_certificate
    from spiritsafe.exam.results.claims import check_reached
    from spiritsafe.exam.results.labels import full_labels
    from spiritsafe.exam.results.reach import Reach
    from spiritsafe.exam.results.scores import right_answers, right_by_stratum
    from spiritsafe.exam.review.dispute import accept_dispute, file_dispute, reject_dispute
    from spiritsafe.exam.review.published_answers import OPENED_FILE
    from spiritsafe.exam.review.retire import load_opened, open_paper, publish_answers
    from spiritsafe.exam.review.reveal import load_revealed, reveal
    from spiritsafe.exam.sitting.sit import ANSWERS_FILE, CERTIFICATE_FILE, RESULT_FILE, sit
    from spiritsafe.exam.verification.materials import Materials
    from spiritsafe.exam.verification.reruns import counter_signers, separation_words
    from spiritsafe.exam.verification.trust_page import trust_lines, trust_page
    from spiritsafe.exam.verification.verify import (
        VERIFY_STEPS,
        StepResult,
        Verification,
        VerifyStep,
        require_verified,
        run_steps,
        verification_of,
        verify,
    )
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "ANSWERS_FILE", "CERTIFICATE_FILE", "EXPORT_FORMATS", "OPENED_FILE", "PAIRED_COLUMNS", "PAPER_FILE",
    "PRACTICE_STATEMENT", "RESULT_FILE", "SEALED_FILE", "VERIFY_STEPS", "ForeignCounts", "GradedRun", "Ignored",
    "Materials", "OverlapTerms", "PairedRuns", "PairedScores", "PaperLog", "PaperTerms", "PartyExposure", "PracticeRun",
    "PrivateRow", "PrivateTask", "Reach", "RegistrationEntry", "RegistrationTerms", "ShorterTerms", "StepResult",
    "Verification", "VerifyStep", "accept_dispute", "check_reached", "checked_certificates", "compare",
    "compare_practice", "compare_runs", "count_overlaps", "counter_signers", "disputes_of", "edits_told",
    "export_certificate", "exposures", "file_dispute", "file_rerun", "find_registration", "foreign_lines",
    "foreign_test", "full_labels", "host_software", "items_lines", "lapse", "learn_items", "load_certificate",
    "load_opened", "load_paper", "load_practice", "load_private", "load_rerun", "load_revealed", "memory",
    "one_a_model", "open_paper", "outlook", "overlap", "paired_rows", "publish_answers", "read_foreign",
    "read_inspect_log", "read_lm_eval_samples", "read_run", "register", "registration_states", "registrations_of",
    "reissue", "reject_dispute", "require_verified", "rerun", "reveal", "right_answers", "right_by_stratum",
    "run_steps", "score_practice", "seal", "separation_words", "shorter_statement", "sign_off", "sit", "summarise",
    "task_of_paper", "trust_lines", "trust_page", "unconfirmed", "verification_of", "verify", "withdraw",
    "write_practice",
]  # fmt: skip
