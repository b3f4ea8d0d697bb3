"""What is published when a paper is retired: its whole bank, and the answers of sittings if wanted.

The paper's secret is not published, so answers stay closed unless each is opened with its own salt. Exercised by
``pytest tests/unit/core/test_opened.py``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from spiritsafe.core.certificates import PaperHeader, PaperProblem, Salt
from spiritsafe.core.promises import Digest
from spiritsafe.core.records import Record

__all__ = ["OpenedAnswer", "OpenedPaper", "OpenedSitting"]


class OpenedPaper(Record):
    """A retired paper; the file ``opened/paper.json``.

    Attributes:
        problems: All of the bank in order, twins behind, with salts and gold answers; their commitments hash to the
            header's root.
    """

    format: Literal["spiritsafe.opened/1"] = "spiritsafe.opened/1"
    header: PaperHeader
    problems: tuple[PaperProblem, ...]


class OpenedAnswer(Record):
    """One try of a sitting, opened against its certificate's commitment.

    Attributes:
        attempt: The answer, without the seconds that it took.
        verdict: What the verifier said; None when there was nothing to grade.
        salt: The salt of the answer's commitment.
    """

    index: int = Field(ge=0)
    sample_index: int = Field(ge=0)
    attempt: dict[str, JsonValue]
    verdict: dict[str, JsonValue] | None
    salt: Salt


class OpenedSitting(Record):
    """All answers of one sitting of a retired paper.

    Attributes:
        registration: Digest of the registration whose sitting it is of.
        answers: By place, then by try.
    """

    format: Literal["spiritsafe.answers/1"] = "spiritsafe.answers/1"
    paper_id: Digest
    registration: Digest
    answers: tuple[OpenedAnswer, ...]
