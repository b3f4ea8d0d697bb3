"""Draw tokens from logits: temperature, top-k, top-p, min-p, one counted uniform a token.

In: float32 logits, a seed and a step for each sequence. Out: token ids and their log-probabilities. The uniform of a
token is a hash of (seed, step) alone, so a sequence's draws do not depend on which others share its batch, and the
whole of it runs inside a CUDA graph (no host synchronisation, no random-number state). Shapes: B sequences,
V vocabulary, C chunks of the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from spiritsafe.core.records import Sampling
from spiritsafe.models.engine.dtype import has_float64

_CHUNK = 256
_TOP_CANDIDATES = 256


def _signed(value: int) -> int:
    """The int64 with the same bits."""
    return value - (1 << 64) if value >= 1 << 63 else value


# Constants of splitmix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number generators", 2014, fig. 17).
_GAMMA = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _shift(bits: Tensor, count: int) -> Tensor:
    """Logical right shift of int64 (torch's own is arithmetic)."""
    return (bits >> count) & ((1 << (64 - count)) - 1)


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift(bits, 30)) * _MIX_1
    bits = (bits ^ _shift(bits, 27)) * _MIX_2
    return bits ^ _shift(bits, 31)


def uniforms(seeds_B: Tensor, steps_B: Tensor) -> Tensor:
    """One number in [0, 1) for each (seed, step): output ``step`` of the splitmix64 stream that a mix of seed starts.

    The seed is mixed first, so streams of neighbouring seeds do not overlap.

    Args:
        seeds_B: int64.
        steps_B: int64, counting tokens from 0.

    Returns:
        float64 with 53 random bits.
    """
    bits_B = _mix(_mix(seeds_B + _GAMMA) + (steps_B + 1) * _GAMMA)
    return _shift(bits_B, 11).to(torch.float64) * 2.0**-53


@final
@dataclass(frozen=True)
class DrawnTokens:
    """What one step drew.

    Attributes:
        token_ids_B: int64.
        logprobs_B: float32, natural log at the sampling temperature before truncation (temperature 1 when greedy).
        broken_B: bool, True where the logits hold NaN or +infinity; its token means nothing.
    """

    token_ids_B: Tensor
    logprobs_B: Tensor
    broken_B: Tensor


def _nucleus_threshold_by_bisection(weights_BV: Tensor, needed_B1: Tensor) -> Tensor:
    """Largest weight t such that tokens with weight >= t reach the needed mass; no sort, no host synchronisation.

    Positive floats order as their bit patterns, so 31 halvings of an integer interval find it exactly.
    """
    low_B1 = torch.zeros_like(needed_B1, dtype=torch.int32)
    high_B1 = torch.full_like(low_B1, 0x3F800001)  # one above the bits of 1.0, the largest weight there is
    for _ in range(31):
        middle_B1 = low_B1 + (high_B1 - low_B1) // 2
        threshold_B1 = middle_B1.view(torch.float32)
        mass_B1 = torch.where(weights_BV >= threshold_B1, weights_BV, 0.0).sum(-1, keepdim=True, dtype=torch.float64)
        enough_B1 = mass_B1 >= needed_B1
        low_B1 = torch.where(enough_B1, middle_B1, low_B1)
        high_B1 = torch.where(enough_B1, high_B1, middle_B1)
    return low_B1.view(torch.float32)


def _nucleus_threshold_by_sorting(weights_BV: Tensor, needed_B1: Tensor) -> Tensor:
    """The same threshold from the likeliest few tokens; all are sorted only when those few do not suffice."""
    count = min(_TOP_CANDIDATES, weights_BV.shape[1])
    top_BK = weights_BV.topk(count, dim=-1).values
    if bool((top_BK.sum(-1, keepdim=True, dtype=torch.float64) < needed_B1).any()):
        top_BK = weights_BV.sort(dim=-1, descending=True).values
    reached_BK = top_BK.cumsum(-1, dtype=torch.float64) >= needed_B1
    first_B1 = (~reached_BK).sum(-1, keepdim=True).clamp_(max=top_BK.shape[1] - 1)
    return top_BK.gather(1, first_B1)


def truncate(weights_BV: Tensor, sampling: Sampling) -> Tensor:
    """Set tokens that top-k, then top-p, then min-p exclude to weight 0; the order of transformers.

    Tokens exactly as likely as the last one kept are kept too, so the result does not depend on their order.

    Args:
        weights_BV: ``exp(logit - largest logit)``: unnormalised, 1 for the likeliest.
    """
    if 0 < sampling.top_k < weights_BV.shape[1]:
        smallest_B1 = weights_BV.topk(sampling.top_k, dim=-1).values[:, -1:]
        weights_BV = torch.where(weights_BV >= smallest_B1, weights_BV, 0.0)
    if sampling.top_p < 1.0:
        needed_B1 = weights_BV.sum(-1, keepdim=True, dtype=torch.float64) * sampling.top_p
        on_gpu = weights_BV.is_cuda
        threshold = _nucleus_threshold_by_bisection if on_gpu else _nucleus_threshold_by_sorting
        weights_BV = torch.where(weights_BV >= threshold(weights_BV, needed_B1), weights_BV, 0.0)
    if sampling.min_p > 0.0:
        weights_BV = torch.where(weights_BV >= sampling.min_p, weights_BV, 0.0)
    return weights_BV


def _chunk_sums(weights_BV: Tensor) -> Tensor:
    """float32 sums of each chunk of the vocabulary, ``[B, C]``; the vocabulary must fill its chunks."""
    return weights_BV.view(weights_BV.shape[0], -1, _CHUNK).sum(-1)


def _choose(weights_BV: Tensor, sums_BC: Tensor, uniforms_B: Tensor) -> Tensor:
    """Inverse of the cumulative distribution, in two levels: the chunk, then the token in it.

    Only one chunk is accumulated in order, and in float64; a token of weight 0 has an empty interval and is never
    chosen, at the ends neither.
    """
    ends_BC = sums_BC.cumsum(-1, dtype=torch.float64)
    target_B1 = uniforms_B[:, None] * ends_BC[:, -1:]
    # the first chunk whose end lies beyond the target, and never one beyond the last that has any weight
    last_B1 = (ends_BC < ends_BC[:, -1:]).sum(-1, keepdim=True)
    chunk_B1 = torch.minimum((ends_BC <= target_B1).sum(-1, keepdim=True), last_B1)
    start_B1 = torch.where(chunk_B1 > 0, ends_BC.gather(1, (chunk_B1 - 1).clamp_(min=0)), 0.0)
    inside_BW = _chunk_of(weights_BV, chunk_B1).cumsum(-1, dtype=torch.float64)
    last_inside_B1 = (inside_BW < inside_BW[:, -1:]).sum(-1, keepdim=True)
    token_B1 = torch.minimum((inside_BW <= target_B1 - start_B1).sum(-1, keepdim=True), last_inside_B1)
    return (chunk_B1 * _CHUNK + token_B1).squeeze(1)


def _chunk_of(values_BV: Tensor, chunk_B1: Tensor) -> Tensor:
    """One chunk of each row, ``[B, chunk size]``."""
    values_BCW = values_BV.view(values_BV.shape[0], -1, _CHUNK)
    return values_BCW.gather(1, chunk_B1[:, :, None].expand(-1, -1, _CHUNK)).squeeze(1)


def _likeliest(logits_BV: Tensor, peaks_BC: Tensor) -> Tensor:
    """The first of the largest logits; two short searches are faster than a long one."""
    chunk_B1 = peaks_BC.argmax(-1, keepdim=True)
    return (chunk_B1 * _CHUNK + _chunk_of(logits_BV, chunk_B1).argmax(-1, keepdim=True)).squeeze(1)


def draw(logits_BV: Tensor, seeds_B: Tensor, steps_B: Tensor, sampling: Sampling) -> DrawnTokens:
    """Draw one token for each sequence.

    Args:
        logits_BV: float32; overwritten, because at this size each copy costs as much as a layer.
        seeds_B: int64, a sequence's own seed.
        steps_B: int64, how many tokens it has drawn before.
        sampling: Temperature 0 takes the likeliest token (the first of equals).
    """
    if not has_float64(logits_BV.device):  # its memory is the CPU's, and a copy is small beside a layer
        drawn = draw(logits_BV.cpu(), seeds_B.cpu(), steps_B.cpu(), sampling)
        device = logits_BV.device
        return DrawnTokens(drawn.token_ids_B.to(device), drawn.logprobs_B.to(device), drawn.broken_B.to(device))
    padding = -logits_BV.shape[1] % _CHUNK
    if padding:
        logits_BV = functional.pad(logits_BV, (0, padding), value=float("-inf"))
    greedy = sampling.temperature == 0.0
    if not greedy and sampling.temperature != 1.0:
        logits_BV.div_(sampling.temperature)
    peaks_BC = logits_BV.view(logits_BV.shape[0], -1, _CHUNK).amax(-1)
    greedy_B = _likeliest(logits_BV, peaks_BC) if greedy else None
    weights_BV = logits_BV.sub_(peaks_BC.amax(-1, keepdim=True)).exp_()
    sums_BC = _chunk_sums(weights_BV)
    total_B = sums_BC.sum(-1)
    if greedy_B is not None:
        token_B = greedy_B
    elif sampling.top_p == 1.0 and sampling.min_p == 0.0 and sampling.top_k == 0:
        token_B = _choose(weights_BV, sums_BC, uniforms(seeds_B, steps_B))
    else:
        kept_BV = truncate(weights_BV, sampling)
        token_B = _choose(kept_BV, _chunk_sums(kept_BV), uniforms(seeds_B, steps_B))
    chosen_B = weights_BV.gather(1, token_B[:, None]).squeeze(1)
    return DrawnTokens(token_B, chosen_B.log() - total_B.log(), ~total_B.isfinite())
