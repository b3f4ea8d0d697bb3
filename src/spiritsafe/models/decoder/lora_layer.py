"""A low-rank adapter of one linear layer, whose output may be several projections side by side.

In: rows and the layer's own weight, a matrix or quantised. Out: ``rows @ (W + s·B·A).T`` without building that matrix.
LoRA: arXiv 2106.09685 §4.1, h = W₀x + BAx, with s = alpha / rank. The layer's projections (query, key and value, say)
have an adapter each: their A's are stacked, so that one product serves all, and each B adds to its own columns of the
output.

Shapes: N rows, I input width, O output width, R rank, Q the ranks of all adapted projections together, P their output
widths together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from spiritsafe.models.decoder.quantised import QuantisedWeight, dense

_Spans = tuple[tuple[slice, slice, slice], ...]
"""For each projection its columns of the output, its columns of the stacked low-rank rows, its rows of B."""


@final
@dataclass(frozen=True)
class AdaptedRows:
    """Which rows of a layer's weight are one projection.

    Attributes:
        name: Of the projection.
        start: First row.
        stop: Row after the last.
    """

    name: str
    start: int
    stop: int


def draw_first_map(shape: tuple[int, int], seed: int) -> Tensor:
    """``[R, I]`` as ``kaiming_uniform_`` with a = √5 gives it, as peft and ``nn.Linear`` begin: within 1 / √I."""
    uniform = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return (2.0 * uniform - 1.0) / math.sqrt(shape[1])


def _add_low_rank_(out_NO: Tensor, low_NQ: Tensor, b_PR: Tensor, spans: _Spans, scale: float) -> None:
    for columns, low, rows in spans:
        out_NO[:, columns].addmm_(low_NQ[:, low], b_PR[rows].t(), alpha=scale)


class _AdaptedLinear(torch.autograd.Function):
    """By hand, because autograd would copy the whole output's gradient once for each projection added into it."""

    @staticmethod
    def forward(
        ctx: Any,
        rows_NI: Tensor,
        weight_OI: Tensor | QuantisedWeight,
        bias_O: Tensor | None,
        a_QI: Tensor,
        b_PR: Tensor,
        spans: _Spans,
        scale: float,
    ) -> Tensor:
        out_NO = functional.linear(rows_NI, dense(weight_OI, rows_NI.dtype), bias_O)
        low_NQ = functional.linear(rows_NI, a_QI)
        _add_low_rank_(out_NO, low_NQ, b_PR, spans, scale)
        # of quantised weights the codes are kept alone; what they stand for is made again
        ctx.quantised = weight_OI if isinstance(weight_OI, QuantisedWeight) else None
        kept_OI = None if isinstance(weight_OI, QuantisedWeight) else weight_OI
        ctx.save_for_backward(rows_NI, kept_OI, low_NQ, a_QI, b_PR)
        ctx.spans, ctx.scale = spans, scale
        return out_NO

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad_NO,) = gradients
        rows_NI, kept_OI, low_NQ, a_QI, b_PR = ctx.saved_tensors
        grad_low_NQ, grad_b_PR = torch.empty_like(low_NQ), torch.empty_like(b_PR)
        for columns, low, rows in ctx.spans:
            grad_low_NQ[:, low] = grad_NO[:, columns] @ b_PR[rows]
            torch.mm(grad_NO[:, columns].t(), low_NQ[:, low], out=grad_b_PR[rows])
        grad_low_NQ *= ctx.scale
        grad_b_PR *= ctx.scale
        wants_rows, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        grad_rows_NI = None
        if wants_rows:
            weight_OI = dense(kept_OI if ctx.quantised is None else ctx.quantised, grad_NO.dtype)
            grad_rows_NI = (grad_NO @ weight_OI).addmm_(grad_low_NQ, a_QI)
            del weight_OI
        grad_weight_OI = grad_NO.t() @ rows_NI if wants_weight else None
        grad_bias_O = grad_NO.sum(0) if wants_bias else None
        return grad_rows_NI, grad_weight_OI, grad_bias_O, grad_low_NQ.t() @ rows_NI, grad_b_PR, None, None


@final
class LoraLayer(nn.Module):
    """The adapters of one layer. Both maps are unset: the caller draws or loads them.

    Args:
        parts: The adapted projections, in the order of their rows.
        in_features: I.
        rank: R.
        alpha: s times R.
        dtype: Of both maps.
        device: Of both maps.

    Attributes:
        a_QI: The first maps, stacked.
        b_PR: The second maps, stacked.
    """

    def __init__(
        self,
        parts: Sequence[AdaptedRows],
        *,
        in_features: int,
        rank: int,
        alpha: float,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.parts = tuple(parts)
        self.rank, self.alpha, self.scale = rank, alpha, alpha / rank
        num_rows = sum(part.stop - part.start for part in parts)
        self.a_QI = nn.Parameter(torch.empty((len(parts) * rank, in_features), dtype=dtype, device=device))
        self.b_PR = nn.Parameter(torch.empty((num_rows, rank), dtype=dtype, device=device))

    def maps(self) -> Iterator[tuple[AdaptedRows, Tensor, Tensor]]:
        """Each projection with its A ``[R, I]`` and its B, as views."""
        start = 0
        for index, part in enumerate(self.parts):
            stop = start + part.stop - part.start
            yield part, self.a_QI[index * self.rank : (index + 1) * self.rank], self.b_PR[start:stop]
            start = stop

    def forward(self, rows_NI: Tensor, weight_OI: Tensor | QuantisedWeight, bias_O: Tensor | None) -> Tensor:
        """``rows @ (W + s·B·A).T + bias``."""
        maps = (self.a_QI, self.b_PR, self._spans(), self.scale)
        out_NO: Tensor = _AdaptedLinear.apply(rows_NI, weight_OI, bias_O, *maps)  # type: ignore[no-untyped-call]  # torch
        return out_NO

    @torch.no_grad()
    def float32_maps(self, num_out: int) -> tuple[Tensor, Tensor]:
        """``[I, Q]`` and ``[Q, O]``, whose product is s·B·A transposed; zero between projections that do not meet."""
        b_QO = torch.zeros((self.a_QI.shape[0], num_out), device=self.b_PR.device)
        for columns, low, rows in self._spans():
            b_QO[low, columns] = self.b_PR[rows].t() * self.scale
        return self.a_QI.to(torch.float32).t().contiguous(), b_QO

    def _spans(self) -> _Spans:
        """Where each projection lies."""
        start = 0
        spans = []
        for index, part in enumerate(self.parts):
            stop = start + part.stop - part.start
            low = slice(index * self.rank, (index + 1) * self.rank)
            spans.append((slice(part.start, part.stop), low, slice(start, stop)))
            start = stop
        return tuple(spans)

    @torch.no_grad()
    def merged(self, weight_OI: Tensor) -> Tensor:
        """``W + s·B·A``, made in float32 (float64 if the weight is) and rounded once to the weight's type."""
        wide = torch.promote_types(weight_OI.dtype, torch.float32)
        out_OI = weight_OI.detach().to(wide, copy=True)
        for part, a_RI, b_ER in self.maps():
            out_OI[part.start : part.stop].addmm_(b_ER.to(wide), a_RI.to(wide), alpha=self.scale)
        return out_OI.to(weight_OI.dtype)
