"""The exam's records, as they are on disk. They only hold data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.exam.records.certificate import Certificate, Separation
    from spiritsafe.exam.records.contamination import SignedMemory, SignedOverlap
    from spiritsafe.exam.records.items import ItemsChecked, PaperItems
    from spiritsafe.exam.records.paper import PaperHeader, PaperProtocol, PublicPaper
    from spiritsafe.exam.records.registration import Budget, Claim, Registration
    from spiritsafe.exam.records.rerun import CounterSignedRerun
    from spiritsafe.exam.records.result import ExamResult, Half
    from spiritsafe.exam.records.review import OpenedPaper, Revealed
    from spiritsafe.exam.records.terms import MOST_OVERLAPS, MOST_PROBLEMS, USUAL_DAYS, OutcomeStatus
    from spiritsafe.exam.records.trust import Promise, TrustPage, TrustState
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = [
    "MOST_OVERLAPS", "MOST_PROBLEMS", "USUAL_DAYS", "Budget", "Certificate", "Claim", "CounterSignedRerun",
    "ExamResult", "Half", "ItemsChecked", "OpenedPaper", "OutcomeStatus", "PaperHeader", "PaperItems", "PaperProtocol",
    "Promise", "PublicPaper", "Registration", "Revealed", "Separation", "SignedMemory", "SignedOverlap", "TrustPage",
    "TrustState",
]  # fmt: skip
