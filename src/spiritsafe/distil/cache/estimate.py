"""What a cache keeps of a teacher's distribution: its likeliest ids exactly, some draws of the rest, two sums.

In: nothing but numbers. Out: one record type for estimator, encoder and reader. A row says: these ids have these
probabilities; what is left (the tail) has this mass, spread evenly over the drawn ids; the entropy is this. With draws
of the tail in proportion to its probabilities the row's expectation over the draws is the teacher's distribution, so
the gradient of forward KL and cross-entropy at temperature 1, which is linear in it, is unbiased.

Rows differ in how many ids they hold, so ids lie end to end. Shapes: R rows, F head ids and D tail draws of all rows
together, W most entries of any row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from spiritsafe.stats import Floats

Ints = npt.NDArray[np.int64]


@final
@dataclass(frozen=True, kw_only=True)
class RowEstimates:
    """Estimates of R distributions.

    Attributes:
        num_head_R: Exact ids of each row.
        head_ids_F: In order of row, then of id.
        head_log_probs_F: Their natural-log probabilities.
        num_draws_R: Tail draws of each row.
        tail_ids_D: In order of row, then of id; an id once for each time it was drawn.
        log_tail_mass_R: Log of what the head leaves; -inf where it leaves nothing.
        entropy_R: In nats.
    """

    num_head_R: Ints
    head_ids_F: Ints
    head_log_probs_F: Floats
    num_draws_R: Ints
    tail_ids_D: Ints
    log_tail_mass_R: Floats
    entropy_R: Floats

    def __len__(self) -> int:
        return len(self.entropy_R)

    def split(self, lengths: Sequence[int]) -> Iterator[RowEstimates]:
        """Runs of rows of these lengths, in order."""
        row = head = draw = 0
        for length in lengths:
            rows = slice(row, row := row + length)
            heads = slice(head, head := head + int(self.num_head_R[rows].sum()))
            draws = slice(draw, draw := draw + int(self.num_draws_R[rows].sum()))
            yield RowEstimates(
                num_head_R=self.num_head_R[rows],
                head_ids_F=self.head_ids_F[heads],
                head_log_probs_F=self.head_log_probs_F[heads],
                num_draws_R=self.num_draws_R[rows],
                tail_ids_D=self.tail_ids_D[draws],
                log_tail_mass_R=self.log_tail_mass_R[rows],
                entropy_R=self.entropy_R[rows],
            )

    @classmethod
    def joined(cls, parts: Sequence[RowEstimates]) -> RowEstimates:
        """The rows of all parts, in order."""
        names = cls.__dataclass_fields__
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def row_of(counts_R: Ints) -> Ints:
    """The row of each entry, when row r has ``counts_R[r]`` of them."""
    return np.repeat(np.arange(len(counts_R)), counts_R)


def place_in_row(counts_R: Ints) -> Ints:
    """The place of each entry in its row, from 0."""
    starts_R = np.cumsum(counts_R) - counts_R
    return np.arange(int(counts_R.sum())) - np.repeat(starts_R, counts_R)


def padded_entries(rows: RowEstimates) -> tuple[Ints, Floats]:
    """Ids and probabilities, ``[R, W]`` each: head, then draws, then id 0 with probability 0.

    Head probabilities are scaled to what the tail leaves, so each row sums to 1.
    """
    width = int((rows.num_head_R + rows.num_draws_R).max(initial=0))
    ids_RW = np.zeros((len(rows), width), dtype=np.int64)
    probs_RW = np.zeros((len(rows), width))
    head_F, draw_D = row_of(rows.num_head_R), row_of(rows.num_draws_R)
    tail_mass_R = np.where(rows.num_draws_R > 0, np.exp(rows.log_tail_mass_R), 0.0)
    tail_mass_R[rows.num_head_R == 0] = 1.0
    raw_F = np.exp(rows.head_log_probs_F)
    raw_mass_R = np.bincount(head_F, weights=raw_F, minlength=len(rows))
    head_mass_R = np.where(rows.num_draws_R > 0, 1.0 - tail_mass_R, 1.0)
    places_F, places_D = place_in_row(rows.num_head_R), rows.num_head_R[draw_D] + place_in_row(rows.num_draws_R)
    ids_RW[head_F, places_F] = rows.head_ids_F
    probs_RW[head_F, places_F] = raw_F * (head_mass_R / np.where(raw_mass_R > 0.0, raw_mass_R, 1.0))[head_F]
    ids_RW[draw_D, places_D] = rows.tail_ids_D
    probs_RW[draw_D, places_D] = (tail_mass_R / np.maximum(rows.num_draws_R, 1))[draw_D]
    return ids_RW, probs_RW
