"""The loop of every loss through the last linear map: logits of a few rows, their gradient in place, the products.

In: hidden states of the supervised rows, the head's weight, and a row loss, a pure function of a chunk's logits. Out:
what the loss says of each row, the gradient of the hidden states, and the weight's gradient added straight into its
buffer. The gradient is made while a chunk's logits are at hand, so they are computed once and never kept: three matrix
products a row (logits, hidden gradient, weight gradient), two with a frozen head, memory bound by a byte budget however
many rows there are. The idea is Liger's and Cut Cross-Entropy's (arXiv 2411.09009).

Shapes: R rows, C rows of one chunk, G rows of a group of chunks, H hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import final

import torch
from torch import Tensor, nn

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models import head_product, logits_dtype

_CPU_LOGITS_BYTES = 128 << 20
_CUDA_LOGITS_BYTES = 2 << 30
_VOCAB_SLICE = 16384
"""Rows of the weight gradient made at a time when it must pass through a lower precision."""

RowLoss = Callable[[slice, Tensor, Tensor], Sequence[Tensor]]
"""Of a chunk: its rows, their logits, and where to write the gradient of their weighted losses by the logits before
they were scaled (over the logits, or in memory of half precision). Tells of each row: tensors ``[..., C]``."""


def gradient_buffer(weight_VH: nn.Parameter) -> Tensor | None:
    """The parameter's gradient, made (zero, float32 unless the parameter is wider) if absent; None when frozen."""
    if not weight_VH.requires_grad:
        return None
    if weight_VH.grad is None:
        dtype = torch.promote_types(weight_VH.dtype, torch.float32)
        if dtype != weight_VH.dtype:
            weight_VH.grad_dtype = dtype
        weight_VH.grad = torch.zeros_like(weight_VH, dtype=dtype)
    return weight_VH.grad


def logits_budget(rows: Tensor, logits_bytes: int | None) -> int:
    """Most memory for logits: what the caller says, or else by device."""
    return logits_bytes or (_CUDA_LOGITS_BYTES if rows.is_cuda else _CPU_LOGITS_BYTES)


def even_slices(start: int, stop: int, most: int) -> list[slice]:
    """As few slices as possible of at most ``most`` rows (at least one), as even as possible."""
    num_rows = stop - start
    count = -(-num_rows // max(1, most))
    return [slice(start + c * num_rows // count, start + (c + 1) * num_rows // count) for c in range(count)]


def rows_of_chunk(rows: Tensor, row_bytes: int, logits_bytes: int | None) -> int:
    """The largest of the chunks, as few and as even as possible, whose logits fit the budget; at least one row."""
    chunks = even_slices(0, rows.shape[0], logits_budget(rows, logits_bytes) // row_bytes)
    most: int = max(chunk.stop - chunk.start for chunk in chunks)
    return most


def logits_bytes_per_row(hidden: Tensor, vocab_size: int) -> int:
    """Memory of one row of logits, with the half-precision copy of its gradient that products take."""
    wide, narrow = logits_dtype(hidden).itemsize, hidden.dtype.itemsize
    return vocab_size * (wide if narrow == wide else wide + narrow)


def add_weight_gradient(buffer_VH: Tensor, grad_logits_CV: Tensor, hidden_CH: Tensor) -> None:
    """``buffer += grad_logits.T @ hidden`` without a second ``[V, H]`` matrix.

    On a CPU two copies of the weight gradient were the whole memory cost of a head (research of this project).
    """
    if grad_logits_CV.dtype == buffer_VH.dtype == hidden_CH.dtype:
        buffer_VH.addmm_(grad_logits_CV.t(), hidden_CH)
        return
    if buffer_VH.is_cuda and buffer_VH.dtype == torch.float32:
        torch.addmm(buffer_VH, grad_logits_CV.t(), hidden_CH, out_dtype=torch.float32, out=buffer_VH)
        return
    for start in range(0, buffer_VH.shape[0], _VOCAB_SLICE):
        part = grad_logits_CV[:, start : start + _VOCAB_SLICE].t()
        buffer_VH[start : start + _VOCAB_SLICE].add_(torch.mm(part, hidden_CH))


def check_head_shapes(hidden_RH: Tensor, weight_VH: Tensor, targets_R: Tensor) -> None:
    """Refuse a head that does not fit.

    Raises:
        CompatibilityError: Widths or rows differ, there is no row, or a target is outside the vocabulary.
    """
    if hidden_RH.shape[1] != weight_VH.shape[1] or hidden_RH.shape[0] != targets_R.shape[0]:
        raise CompatibilityError(
            f"Hidden states {tuple(hidden_RH.shape)} fit neither head {tuple(weight_VH.shape)} nor "
            f"{targets_R.shape[0]} targets.",
            hint="Use the head of the model that made the hidden states, and one target for each row.",
        )
    if not hidden_RH.shape[0]:
        raise CompatibilityError("There are no rows.", hint="Leave batches without a supervised token out.")
    if not hidden_RH.is_cuda and bool((targets_R >= weight_VH.shape[0]).any() or (targets_R < 0).any()):
        raise CompatibilityError(
            f"A target is outside the vocabulary of {weight_VH.shape[0]}.",
            hint="Tokenize the documents with the tokenizer of the model in training.",
        )


@final
class ChunkLogits:
    """``hidden @ weight.T * scale`` of some rows at a time in :func:`logits_dtype`, each time in the same memory.

    Args:
        hidden_RH: Of all rows.
    """

    def __init__(self, hidden_RH: Tensor, weight_VH: Tensor, *, most_rows: int, scale: float = 1.0) -> None:
        self._hidden_RH, self._weight_VH, self._scale, self._most_rows = hidden_RH, weight_VH, scale, most_rows
        dtype, most = logits_dtype(hidden_RH), min(most_rows, hidden_RH.shape[0])
        # A GPU's product of half-precision factors comes in float32 without memory of ours.
        is_ours = not hidden_RH.is_cuda or hidden_RH.dtype == dtype
        self._buffer = hidden_RH.new_empty((most, weight_VH.shape[0]), dtype=dtype) if is_ours else None

    def __call__(self, rows: slice) -> Tensor:
        """Logits of the rows; the next call overwrites them."""
        hidden_CH = self._hidden_RH[rows]
        out_CV = None if self._buffer is None else self._buffer[: hidden_CH.shape[0]]
        logits_CV = head_product(hidden_CH, self._weight_VH, out_RV=out_CV)
        return logits_CV if self._scale == 1.0 else logits_CV.mul_(self._scale)

    def in_chunks(self, rows: slice | None = None) -> Iterator[tuple[slice, Tensor]]:
        """Rows (None: all) and their logits, chunk by chunk."""
        start, stop = (0, self._hidden_RH.shape[0]) if rows is None else (rows.start, rows.stop)
        for chunk in even_slices(start, stop, self._most_rows):
            yield chunk, self(chunk)


@final
class ChunkedHead:
    """A head in training, a chunk of its rows at a time.

    Args:
        hidden_RH: Hidden states of supervised rows only.
        scale: Of the logits that a loss sees.
        grad_weight_VH: Buffer that the weight's gradient is added to; None leaves that product out (a frozen head).
        logits_bytes: Most memory for logits; None: 128 MiB on a CPU, 2 GiB on a GPU.
        most_rows: Of a chunk, in place of what ``logits_bytes`` allows.

    Attributes:
        logits: Of some of the rows.
        grad_hidden_RH: Gradient of the hidden states, in their dtype, of the rows so far.
    """

    def __init__(
        self,
        hidden_RH: Tensor,
        weight_VH: Tensor,
        *,
        scale: float = 1.0,
        grad_weight_VH: Tensor | None,
        logits_bytes: int | None = None,
        most_rows: int | None = None,
    ) -> None:
        self._hidden_RH, self._weight_VH, self._grad_weight_VH = hidden_RH, weight_VH, grad_weight_VH
        self._most_rows = most_rows or rows_of_chunk(
            hidden_RH, logits_bytes_per_row(hidden_RH, weight_VH.shape[0]), logits_bytes
        )
        self.logits = ChunkLogits(hidden_RH, weight_VH, most_rows=self._most_rows, scale=scale)
        self.grad_hidden_RH = torch.zeros_like(hidden_RH)

    def run(self, loss: RowLoss, groups: Sequence[Sequence[slice]] | None = None) -> tuple[Tensor, ...]:
        """Logits and loss of each chunk, then the gradients of each group of chunks.

        Args:
            groups: Chunks one behind the other, whose gradients by the logits are kept in half precision and
                multiplied at once; None: all rows, each chunk a group of its own.

        Returns:
            What the loss tells of the rows, in the order of the groups.
        """
        if groups is None:
            groups = [[chunk] for chunk in even_slices(0, self._hidden_RH.shape[0], self._most_rows)]
        narrow_GV: Tensor | None = None
        if self._hidden_RH.dtype != logits_dtype(self._hidden_RH):
            most = max(group[-1].stop - group[0].start for group in groups)
            narrow_GV = self._hidden_RH.new_empty((most, self._weight_VH.shape[0]))
        else:  # a gradient lies where its logits were, until the next chunk's
            groups = [[chunk] for group in groups for chunk in group]
        told: list[Sequence[Tensor]] = []
        for group in groups:
            first, stop = group[0].start, group[-1].stop
            for chunk in group:
                logits_CV = self.logits(chunk)
                grad_CV = logits_CV if narrow_GV is None else narrow_GV[chunk.start - first : chunk.stop - first]
                told.append(loss(chunk, logits_CV, grad_CV))
            grad_GV = grad_CV if narrow_GV is None else narrow_GV[: stop - first]
            torch.mm(grad_GV, self._weight_VH, out=self.grad_hidden_RH[first:stop])
            self._add_weight_gradient(grad_GV, slice(first, stop))
        return tuple(torch.cat(parts, -1) for parts in zip(*told, strict=True))

    def add_gradient(self, rows: slice, grad_CV: Tensor) -> None:
        """Add to the gradients what comes of some rows' gradient by the logits, where rows are read more than once."""
        grad_CV = grad_CV.to(self._hidden_RH.dtype)
        self.grad_hidden_RH[rows].addmm_(grad_CV, self._weight_VH)
        self._add_weight_gradient(grad_CV, rows)

    def _add_weight_gradient(self, grad_CV: Tensor, rows: slice) -> None:
        if self._grad_weight_VH is not None:
            add_weight_gradient(self._grad_weight_VH, grad_CV, self._hidden_RH[rows])
