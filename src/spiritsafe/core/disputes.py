"""Disputes: somebody holds one grade of one sitting for wrong. Anybody with a key can file one.

In the ledger its author's signature is over it. The examiner answers with a
:class:`~spiritsafe.core.amendments.GradeEdit` or with a rejection. Exercised by
``pytest tests/unit/core/test_disputes.py``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from spiritsafe.core.amendments import Reason
from spiritsafe.core.certificates import PublicKey
from spiritsafe.core.outcomes import OutcomeStatus
from spiritsafe.core.promises import Digest
from spiritsafe.core.records import Record

__all__ = ["Dispute"]


class Dispute(Record):
    """That one try at one problem deserves another grade.

    Attributes:
        registration: Digest of the registration whose sitting it is of.
        index: The problem's place in the bank.
        graded: What the grade is.
        proposed: What it should be.
        reason: Why, in words.
        author: Who says so.
    """

    format: Literal["spiritsafe.dispute/1"] = "spiritsafe.dispute/1"
    paper_id: Digest
    registration: Digest
    index: int = Field(ge=0)
    sample_index: int = Field(ge=0)
    graded: OutcomeStatus
    proposed: OutcomeStatus
    reason: Reason
    author: PublicKey
