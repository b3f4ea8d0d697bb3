"""From a teacher's logits to row estimates: exact head, systematic draws of the tail, exact entropy.

In: logits of some rows, a chunk at a time, and one random number for each row. Out: :class:`RowEstimates`.

The tail is laid end to end in order of id, and ids are read off at equal distances from a random start (systematic
sampling, Madow & Madow, Ann. Math. Stat. 15 (1944) 1). An id is drawn in expectation in proportion to its probability,
exactly as with independent draws, but never far from that; and because vocabularies are ordered by frequency, equal
distances spread the draws over kinds of tokens. On SmolLM2-135M it had 17 % less error of the mean gradient than
independent draws, 7 % less than laying the tail out by probability, which would also cost a sort of every row.

Shapes: C rows of a chunk, V vocabulary, K head ids, M most draws of any row of the chunk, F and D as in
:mod:`spiritsafe.distil.cache.estimate`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator, Philox
from torch import Tensor

from spiritsafe.core.errors import RecipeError
from spiritsafe.core.seeds import derive_seed
from spiritsafe.distil.cache.config import CaptureConfig
from spiritsafe.distil.cache.estimate import Ints, RowEstimates
from spiritsafe.stats import Floats


def _uniforms(purpose: str, seed: int, key: str, positions: Ints, width: int) -> Floats:
    """Random numbers in [0, 1) for positions of a document: a function of (purpose, seed, key, position, column)."""
    generator = Generator(Philox(key=derive_seed("cache", purpose, seed, key)))
    return generator.random((int(positions.max(initial=-1)) + 1, width))[positions]


def draw_offsets(seed: int, key: str, positions: Ints) -> Floats:
    """Where the draws of each row start, in [0, 1); independent of batches and of the order of documents."""
    return _uniforms("draws", seed, key, positions, 1)[:, 0]


def rounding_uniforms(seed: int, key: str, positions: Ints, width: int) -> Floats:
    """What probabilities are rounded with, ``[R, width]``."""
    return _uniforms("rounding", seed, key, positions, width)


def num_roundings(config: CaptureConfig, vocab_size: int) -> int:
    """Most random numbers that rounding one row takes: one, and one for each head id it may have."""
    most = config.num_head if config.threshold is None else int(1.0 / config.threshold) + 1
    return 1 + min(most or 0, vocab_size)


def estimate_chunk(logits_CV: Tensor, config: CaptureConfig, offsets_C: Floats) -> RowEstimates:
    """Estimate the softmax of each row.

    Args:
        logits_CV: Finite; used up.
        offsets_C: Of :func:`draw_offsets`.
    """
    probs_CV = torch.softmax(logits_CV, 1, out=logits_CV)
    spare_CV = torch.special.entr(probs_CV)
    entropy_C = spare_CV.sum(1)
    if config.threshold is not None:
        head_CV = probs_CV >= config.threshold
    else:
        top_CK = probs_CV.topk(min(config.num_head or 0, probs_CV.shape[1]), dim=1, sorted=False).indices
        head_CV = torch.zeros_like(probs_CV, dtype=torch.bool).scatter_(1, top_CK, True)
    head_row_F, head_ids_F = torch.nonzero(head_CV, as_tuple=True)  # in order of row, then of id
    head_probs_F = probs_CV[head_row_F, head_ids_F]
    cumulative_CV = torch.cumsum(probs_CV.masked_fill_(head_CV, 0.0), 1, out=spare_CV)
    tail_mass_C = cumulative_CV[:, -1].clone()
    num_draws_C = _num_draws(tail_mass_C, config)
    tail_ids_D = _draw(cumulative_CV, tail_mass_C, num_draws_C, torch.from_numpy(offsets_C))
    with np.errstate(divide="ignore"):
        log_tail_mass_C = np.log(_numpy(tail_mass_C))
        head_log_probs_F = np.log(_numpy(head_probs_F))
    return RowEstimates(
        num_head_R=head_CV.sum(1).cpu().numpy(),
        head_ids_F=head_ids_F.cpu().numpy(),
        head_log_probs_F=np.maximum(head_log_probs_F, -200.0),  # a float32 zero, only where the head is the vocabulary
        num_draws_R=num_draws_C.cpu().numpy(),
        tail_ids_D=tail_ids_D.cpu().numpy(),
        log_tail_mass_R=log_tail_mass_C,
        entropy_R=_numpy(entropy_C),
    )


def _numpy(values: Tensor) -> Floats:
    out: Floats = values.double().cpu().numpy()
    return out


def _num_draws(tail_mass_C: Tensor, config: CaptureConfig) -> Tensor:
    if config.threshold is not None:
        wanted_C = (tail_mass_C / config.threshold).round().clamp_(min=1).long()
    elif config.num_draws is not None:
        wanted_C = torch.full_like(tail_mass_C, config.num_draws, dtype=torch.long)
    else:
        raise RecipeError("A tail without draws would be biased.", hint="Give num_draws, or a threshold.")
    return torch.where(tail_mass_C > 0.0, wanted_C, 0)


def _draw(cumulative_CV: Tensor, tail_mass_C: Tensor, num_draws_C: Tensor, offsets_C: Tensor) -> Tensor:
    """Ids at ``(k + offset) / num_draws`` of each row's tail mass; row after row, ascending."""
    most = int(num_draws_C.max())
    device, dtype = cumulative_CV.device, cumulative_CV.dtype
    places_M = torch.arange(most, device=device, dtype=torch.float64)
    share_CM = (places_M + offsets_C.to(device)[:, None]) / num_draws_C.clamp(min=1)[:, None]
    # Rounding to float32 must not reach the total: the id beyond the last one does not exist.
    last_C1 = torch.nextafter(tail_mass_C, torch.zeros_like(tail_mass_C))[:, None]
    wanted_CM = torch.minimum((share_CM * tail_mass_C[:, None]).to(dtype), last_C1)
    # A GPU's running sums may step back by a rounding; sorting keeps the order that the encoder needs.
    ids_CM = torch.searchsorted(cumulative_CV, wanted_CM, right=True).sort(1).values
    return ids_CM[places_M < num_draws_C[:, None]]
