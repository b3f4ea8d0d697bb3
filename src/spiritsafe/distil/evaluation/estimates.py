"""What held-out sums say, with intervals: of one model, and of two on the same documents.

In: a :class:`HeldOut`, or two. Out: means per token and per byte. Documents are drawn, not tokens, so every interval is
one over documents. Per token compares models of one tokenizer only; per byte compares any two that read the same texts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Self, final

import numpy as np
from pydantic import Field, model_validator

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Record
from spiritsafe.stats import Estimate, Floats, korn_graubard_interval, ratio_interval

HELD_OUT_STATEMENT = (
    "This is practice, not a certificate: whoever measured chose the documents, and nothing was sealed before it."
)

_NATS_A_BIT = math.log(2.0)


@final
class HeldOut(Record):
    """Sums over the supervised tokens of each measured document.

    Attributes:
        vocabulary: ``ChatFormat.vocab_fingerprint`` of the tokens that were counted.
        teacher: Digest of the teacher; None without one.
        num_documents: Given.
        too_long: Places of those that were left out because they are longer than a context.
        unsupervised: Places of those that were left out because no token of them is supervised.
        places: Of those that were measured, ascending; what follows has one entry for each.
        num_tokens: Supervised tokens.
        num_bytes: UTF-8 bytes of what they say.
        nll: Sum of -log q of the tokens, in nats.
        kl: Sum of KL(teacher ‖ student) at them, in nats.
        num_agreeing: Tokens in whose place teacher and student find the same token likeliest.
        is_kl_exact: Over the whole vocabulary, not estimated from a cache.
    """

    format: Literal["spiritsafe.held-out/1"] = "spiritsafe.held-out/1"
    vocabulary: str
    teacher: str | None = None
    num_documents: int = Field(ge=1)
    too_long: tuple[int, ...] = ()
    unsupervised: tuple[int, ...] = ()
    places: tuple[int, ...] = Field(min_length=1)
    num_tokens: tuple[int, ...]
    num_bytes: tuple[int, ...]
    nll: tuple[float, ...]
    kl: tuple[float, ...] | None = None
    num_agreeing: tuple[int, ...] | None = None
    is_kl_exact: bool = False

    @model_validator(mode="after")
    def _one_entry_a_document(self) -> Self:
        rows = (self.num_tokens, self.num_bytes, self.nll, self.kl, self.num_agreeing)
        if any(row is not None and len(row) != len(self.places) for row in rows):
            raise ValueError("not one entry for each measured document")
        if sorted((*self.places, *self.too_long, *self.unsupervised)) != list(range(self.num_documents)):
            raise ValueError("a document is neither measured nor left out, or both")
        return self


@final
class HeldOutEstimates(Record):
    """What one model's sums say.

    Attributes:
        num_documents: Measured.
        num_left_out: Not measured: too long, or nothing supervised.
        nats_per_token: Negative log-likelihood; its exponential is the perplexity.
        bits_per_byte: The same in bits per UTF-8 byte; None where the documents say nothing.
        kl_per_token: KL(teacher ‖ student) in nats; None without a teacher.
        agreement: Share of tokens in whose place teacher and student find the same token likeliest.
    """

    num_documents: int
    num_left_out: int
    num_tokens: int
    num_bytes: int
    nats_per_token: Estimate
    bits_per_byte: Estimate | None = None
    kl_per_token: Estimate | None = None
    agreement: Estimate | None = None
    statement: str = HELD_OUT_STATEMENT

    def note(self) -> str:
        """One line for people."""
        parts = [f"{_shown(self.nats_per_token)} nats a token"]
        if self.bits_per_byte is not None:
            parts.append(f"{_shown(self.bits_per_byte)} bits a byte")
        if self.kl_per_token is not None:
            parts.append(f"KL to the teacher {_shown(self.kl_per_token)} nats a token")
        if self.agreement is not None:
            parts.append(f"same choice at {self.agreement.value:.1%} of tokens")
        left_out = f", {self.num_left_out} left out" if self.num_left_out else ""
        return f"{'; '.join(parts)} ({self.num_documents} documents{left_out})"


@final
class HeldOutDifference(Record):
    """One model minus another on the documents that both were measured on; below 0 the first is better.

    Attributes:
        num_documents: Measured by both.
        nats_per_token: None where the two count other tokens.
        bits_per_byte: None where the documents say nothing.
        kl_per_token: Of their divergences from one teacher; None without one for both.
    """

    num_documents: int
    nats_per_token: Estimate | None = None
    bits_per_byte: Estimate | None = None
    kl_per_token: Estimate | None = None
    statement: str = HELD_OUT_STATEMENT


def _shown(estimate: Estimate) -> str:
    return f"{estimate.value:.3g} [{estimate.low:.3g}, {estimate.high:.3g}]"


def held_out_estimates(measured: HeldOut, *, seed: int = 0, confidence: float = 0.95) -> HeldOutEstimates:
    """Means per token and per byte with their intervals over documents.

    Args:
        measured: Two documents or more.
        seed: Of the bootstrap's redraws.

    Raises:
        NumericalError: It holds one document only.
    """
    tokens, nll = measured.num_tokens, np.array(measured.nll)

    def ratio(sums: Floats, sizes: Sequence[int], least: float | None) -> Estimate:
        return ratio_interval(sums, sizes, seed=seed, least=least, confidence=confidence)

    kl, agreeing = measured.kl, measured.num_agreeing
    return HeldOutEstimates(
        num_documents=len(measured.places),
        num_left_out=measured.num_documents - len(measured.places),
        num_tokens=sum(tokens),
        num_bytes=sum(measured.num_bytes),
        nats_per_token=ratio(nll, tokens, 0.0),
        bits_per_byte=ratio(nll / _NATS_A_BIT, measured.num_bytes, 0.0) if _says(measured.num_bytes) else None,
        kl_per_token=None if kl is None else ratio(np.array(kl), tokens, 0.0 if measured.is_kl_exact else None),
        agreement=None if agreeing is None else korn_graubard_interval(agreeing, tokens, confidence=confidence),
    )


def held_out_difference(
    measured: HeldOut, reference: HeldOut, *, seed: int = 0, confidence: float = 0.95
) -> HeldOutDifference:
    """The first model minus the second, document by document, on the documents that both were measured on.

    Args:
        reference: The same documents in the same order, in its own tokens.

    Raises:
        CompatibilityError: They are not the same documents.
        NumericalError: Fewer than two documents are in both.
    """
    _check_same(measured, reference)
    both = sorted({*measured.places} & {*reference.places})
    mine, theirs = _columns(measured, both), _columns(reference, both)

    def difference(name: str, size: str, *, unit: float = 1.0) -> Estimate:
        return ratio_interval((mine[name] - theirs[name]) / unit, mine[size], seed=seed, confidence=confidence)

    is_per_token = measured.vocabulary == reference.vocabulary and mine["num_tokens"].tolist() == (
        theirs["num_tokens"].tolist()
    )
    has_kl = is_per_token and "kl" in mine and "kl" in theirs and measured.teacher == reference.teacher
    return HeldOutDifference(
        num_documents=len(both),
        nats_per_token=difference("nll", "num_tokens") if is_per_token else None,
        bits_per_byte=difference("nll", "num_bytes", unit=_NATS_A_BIT) if _says(mine["num_bytes"]) else None,
        kl_per_token=difference("kl", "num_tokens") if has_kl else None,
    )


def _columns(measured: HeldOut, places: Sequence[int]) -> dict[str, Floats]:
    """The sums of some of the documents."""
    row_of = {place: row for row, place in enumerate(measured.places)}
    rows = [row_of[place] for place in places]
    columns = {
        "num_tokens": measured.num_tokens,
        "num_bytes": measured.num_bytes,
        "nll": measured.nll,
        "kl": measured.kl,
    }
    return {name: np.array(column, dtype=np.float64)[rows] for name, column in columns.items() if column is not None}


def _says(num_bytes: Sequence[int] | Floats) -> bool:
    """Whether documents hold text enough for a mean per byte."""
    return int(np.count_nonzero(num_bytes)) > 1


def _check_same(measured: HeldOut, reference: HeldOut) -> None:
    if measured.num_documents != reference.num_documents:
        raise CompatibilityError(
            f"One model was measured on {measured.num_documents} documents, the other on {reference.num_documents}.",
            hint="Measure both on the same documents in the same order.",
        )
    theirs = dict(zip(reference.places, reference.num_bytes, strict=True))
    for place, num_bytes in zip(measured.places, measured.num_bytes, strict=True):
        if theirs.get(place, num_bytes) != num_bytes:
            raise CompatibilityError(
                f"Document {place} holds {num_bytes} bytes for one model and {theirs[place]} for the other.",
                hint="Measure both on the same documents in the same order, and pass the bytes of the texts as "
                "num_bytes.",
            )
