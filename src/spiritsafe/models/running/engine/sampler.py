"""Draw tokens from logits: temperature, top-k, top-p, min-p, one counted uniform a token.

In: float32 logits, a seed and a step for each sequence, and how each is to be drawn. Out: token ids and their
log-probabilities. The uniform of a token is a hash of (seed, step) alone, so a sequence's draws do not depend on which
others share its batch, and the whole of it runs inside a CUDA graph (no host synchronisation, no random-number state).
Shapes: B sequences, V vocabulary, C chunks of the vocabulary, R masked rows, K likeliest tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, final

import torch
from torch import Tensor
from torch.nn import functional

from spiritsafe.models.interface.dtype import has_float64

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


class HowDrawn(Protocol):
    """The four numbers of :class:`~spiritsafe.core.records.Sampling` that a draw depends on."""

    @property
    def temperature(self) -> float:
        """0 takes the likeliest token (the first of equals)."""
        ...

    @property
    def top_p(self) -> float:
        """1 keeps all."""
        ...

    @property
    def top_k(self) -> int:
        """0 keeps all."""
        ...

    @property
    def min_p(self) -> float:
        """0 keeps all."""
        ...


_Column = float | Tensor
"""One number for all rows, or ``[B, 1]``."""


@final
@dataclass(frozen=True)
class RowSampling:
    """How each row is drawn; what all rows have in common is one number, which costs less and is known to the host.

    Attributes:
        temperature: 1 in greedy rows.
        greedy: bool ``[B]`` where some rows are and some are not.
        top_k: The largest in use; 0: none.
        top_k_B1: int64, V in rows that keep all; None: the same in all rows.
    """

    temperature: _Column = 1.0
    greedy: bool | Tensor = False
    top_k: int = 0
    top_k_B1: Tensor | None = None
    top_p: _Column = 1.0
    min_p: _Column = 0.0

    @classmethod
    def uniform(cls, how: HowDrawn) -> RowSampling:
        """All rows alike."""
        greedy = how.temperature == 0.0
        return cls(1.0 if greedy else how.temperature, greedy, how.top_k, None, how.top_p, how.min_p)

    @property
    def truncates(self) -> bool:
        """Whether any row excludes tokens."""
        return self.top_k > 0 or not (_is(self.top_p, 1.0) and _is(self.min_p, 0.0))

    def repeated(self, count: int) -> RowSampling:
        """Each row so many times."""
        return self.mapped(lambda column: column.repeat_interleave(count, dim=0))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> RowSampling:
        """The same with changed tensors."""
        changed: dict[str, Any] = {name: change(x) for name, x in vars(self).items() if isinstance(x, Tensor)}
        return replace(self, **changed)

    @property
    def key(self) -> tuple[object, ...]:
        """What a captured step depends on: the numbers that it knows, and which others it reads from tensors."""
        columns = (self.temperature, self.greedy, self.top_p, self.min_p)
        return *("rows" if isinstance(x, Tensor) else x for x in columns), self.top_k, self.top_k_B1 is None


def _is(column: _Column, value: float) -> bool:
    return not isinstance(column, Tensor) and column == value


@final
@dataclass(frozen=True)
class RowMask:
    """Tokens that may be drawn, in some rows.

    Attributes:
        rows_R: int64.
        allowed_RV: bool; at least one a row is True.
    """

    rows_R: Tensor
    allowed_RV: Tensor


@final
@dataclass(frozen=True)
class DrawnTokens:
    """What one step drew.

    Attributes:
        token_ids_B: int64.
        logprobs_B: float32, natural log at the sampling temperature before truncation (temperature 1 when greedy).
        broken_B: bool, True where the logits hold NaN or +infinity; its token means nothing.
        top_ids_BK: int64, the likeliest tokens, likeliest first; None when none were asked for.
        top_logprobs_BK: Theirs.
    """

    token_ids_B: Tensor
    logprobs_B: Tensor
    broken_B: Tensor
    top_ids_BK: Tensor | None = None
    top_logprobs_BK: Tensor | None = None


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


def truncate(weights_BV: Tensor, how: RowSampling) -> Tensor:
    """Set tokens that top-k, then top-p, then min-p exclude to weight 0; the order of transformers.

    Tokens exactly as likely as the last one kept are kept too, so the result does not depend on their order.

    Args:
        weights_BV: ``exp(logit - largest logit)``: unnormalised, 1 for the likeliest.
    """
    if 0 < how.top_k < weights_BV.shape[1] or how.top_k_B1 is not None:
        top_BK = weights_BV.topk(min(how.top_k, weights_BV.shape[1]), dim=-1).values
        if how.top_k_B1 is None:
            smallest_B1 = top_BK[:, -1:]
        else:
            last_B1 = how.top_k_B1.clamp(max=top_BK.shape[1]) - 1
            keeps_all_B1 = how.top_k_B1 > top_BK.shape[1]
            smallest_B1 = torch.where(keeps_all_B1, 0.0, top_BK.gather(1, last_B1))
        weights_BV = torch.where(weights_BV >= smallest_B1, weights_BV, 0.0)
    if not _is(how.top_p, 1.0):
        needed_B1 = weights_BV.sum(-1, keepdim=True, dtype=torch.float64) * how.top_p
        on_gpu = weights_BV.is_cuda
        threshold = _nucleus_threshold_by_bisection if on_gpu else _nucleus_threshold_by_sorting
        kept_BV = torch.where(weights_BV >= threshold(weights_BV, needed_B1), weights_BV, 0.0)
        # a sum of 1.0 of all is not always reached by adding up in another order
        weights_BV = kept_BV if not isinstance(how.top_p, Tensor) else torch.where(how.top_p < 1, kept_BV, weights_BV)
    if not _is(how.min_p, 0.0):
        weights_BV = torch.where(weights_BV >= how.min_p, weights_BV, 0.0)
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


def _padded(values_BV: Tensor, fill: float) -> Tensor:
    """As many columns as whole chunks have."""
    padding = -values_BV.shape[1] % _CHUNK
    return functional.pad(values_BV, (0, padding), value=fill) if padding else values_BV


def draw(
    logits_BV: Tensor,
    seeds_B: Tensor,
    steps_B: Tensor,
    how: RowSampling | HowDrawn,
    *,
    mask: RowMask | None = None,
    num_top: int = 0,
) -> DrawnTokens:
    """Draw one token for each sequence.

    Args:
        logits_BV: float32; overwritten, because at this size each copy costs as much as a layer.
        seeds_B: int64, a sequence's own seed.
        steps_B: int64, how many tokens it has drawn before.
        how: Of each row, or of all.
        mask: Excludes tokens before all else; log-probabilities are those without it.
        num_top: How many of the likeliest tokens are told.
    """
    how = how if isinstance(how, RowSampling) else RowSampling.uniform(how)
    if not has_float64(logits_BV.device):  # its memory is the CPU's, and a copy is small beside a layer
        return _draw_on_cpu(logits_BV, seeds_B, steps_B, how, mask, num_top)
    logits_BV = _padded(logits_BV, float("-inf"))
    if not _is(how.temperature, 1.0):
        logits_BV.div_(how.temperature)
    scaled_BV = None if mask is None else logits_BV.clone()
    peaks_BC = logits_BV.view(logits_BV.shape[0], -1, _CHUNK).amax(-1)
    greedy_B = None if how.greedy is False or mask is not None else _likeliest(logits_BV, peaks_BC)
    peak_B1 = peaks_BC.amax(-1, keepdim=True)
    weights_BV = logits_BV.sub_(peak_B1).exp_()
    sums_BC = _chunk_sums(weights_BV)
    total_B = sums_BC.sum(-1)
    open_BV, open_sums_BC = weights_BV, sums_BC
    if mask is not None and scaled_BV is not None:
        masked_BV = scaled_BV.clone()
        allowed_RV = functional.pad(mask.allowed_RV, (0, masked_BV.shape[1] - mask.allowed_RV.shape[1]))
        masked_BV[mask.rows_R] = masked_BV[mask.rows_R].masked_fill_(~allowed_RV, float("-inf"))
        own_peaks_BC = masked_BV.view(masked_BV.shape[0], -1, _CHUNK).amax(-1)
        greedy_B = None if how.greedy is False else _likeliest(masked_BV, own_peaks_BC)
        open_BV = masked_BV.sub_(own_peaks_BC.amax(-1, keepdim=True)).exp_()
        open_sums_BC = _chunk_sums(open_BV)
    if how.greedy is True and greedy_B is not None:
        token_B = greedy_B
    else:
        kept_BV = truncate(open_BV, how) if how.truncates else open_BV
        kept_sums_BC = _chunk_sums(kept_BV) if how.truncates else open_sums_BC
        token_B = _choose(kept_BV, kept_sums_BC, uniforms(seeds_B, steps_B))
        if greedy_B is not None and isinstance(how.greedy, Tensor):
            token_B = torch.where(how.greedy, greedy_B, token_B)
    if scaled_BV is None:
        chosen_B = weights_BV.gather(1, token_B[:, None]).squeeze(1).log()
    else:  # a weight of an excluded token's rival may be 0 in float32, its logarithm is not
        chosen_B = scaled_BV.gather(1, token_B[:, None]).squeeze(1) - peak_B1.squeeze(1)
    drawn = DrawnTokens(token_B, chosen_B - total_B.log(), ~total_B.isfinite())
    if num_top == 0:
        return drawn
    top = weights_BV.topk(num_top, dim=-1)
    top_logprobs_BK = top.values.log() - total_B.log()[:, None]
    return DrawnTokens(token_B, drawn.logprobs_B, drawn.broken_B, top.indices, top_logprobs_BK)


def _draw_on_cpu(
    logits_BV: Tensor, seeds_B: Tensor, steps_B: Tensor, how: RowSampling, mask: RowMask | None, num_top: int
) -> DrawnTokens:
    device = logits_BV.device
    here = how.mapped(Tensor.cpu)
    mask = None if mask is None else RowMask(mask.rows_R.cpu(), mask.allowed_RV.cpu())
    drawn = draw(logits_BV.cpu(), seeds_B.cpu(), steps_B.cpu(), here, mask=mask, num_top=num_top)
    there: dict[str, Any] = {name: x.to(device) for name, x in vars(drawn).items() if x is not None}
    return DrawnTokens(**there)


def rows_sampling(rows: Sequence[HowDrawn], columns: dict[str, Tensor], width: int) -> RowSampling:
    """How rows are drawn that may differ.

    Args:
        rows: What the host knows.
        columns: The same as tensors of at least as many rows, ``[B, 1]``: temperature (1 where greedy), greedy
            (``[B]``), top_k (very large where 0), top_p, min_p. Their slices are read only where rows differ.
        width: How many rows the slices have.
    """
    temperatures = {row.temperature for row in rows}
    top_ks, top_ps, min_ps = ({row.top_k for row in rows}, {row.top_p for row in rows}, {row.min_p for row in rows})
    alike = {temperature or 1.0 for temperature in temperatures}
    greedy = 0.0 in temperatures
    return RowSampling(
        temperature=alike.pop() if len(alike) == 1 else columns["temperature"][:width],
        greedy=columns["greedy"][:width] if greedy and len(temperatures) > 1 else greedy,
        top_k=max(top_ks),
        top_k_B1=None if len(top_ks) == 1 else columns["top_k"][:width],
        top_p=top_ps.pop() if len(top_ps) == 1 else columns["top_p"][:width],
        min_p=min_ps.pop() if len(min_ps) == 1 else columns["min_p"][:width],
    )
