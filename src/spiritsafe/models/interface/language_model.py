"""What training, distilling and sampling need of a model: hidden states and a head.

Implemented by the Decoder (fast path) and by the transformers fallback. Shapes: N tokens of a packed batch, H hidden
width, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from spiritsafe.models.interface.batch import PackedBatch

SHARD_BYTES = 5_000_000_000
"""Most bytes of weights in one file of a model that is written, as the Hub's own tools have it."""


@final
@dataclass(frozen=True, kw_only=True)
class Head:
    """The last linear map: ``logits_NV = hidden_NH @ weight_VH.T * scale``.

    Attributes:
        weight_VH: The parameter itself (the embedding when tied), so gradients reach it.
        scale: 1 / logits_scaling for Granite, else 1.
    """

    weight_VH: nn.Parameter
    scale: float


@final
class ExpertBalance:
    """The load-balancing loss of a mixture of experts, which the model adds to a training pass by itself.

    A pass with gradients inside :meth:`weighted` carries it: whoever sends a gradient back through its hidden states
    sends this loss's gradient back as well.

    Attributes:
        coefficient: Its weight beside the other loss, by the model's configuration.
    """

    def __init__(self, coefficient: float) -> None:
        self.coefficient = coefficient
        self._weight = 0.0
        self._seen: list[Tensor] = []

    @property
    def is_wanted(self) -> bool:
        """Whether the pass that comes shall carry it."""
        return bool(self._weight) and torch.is_grad_enabled()

    @contextmanager
    def weighted(self, weight: float) -> Iterator[list[Tensor]]:
        """Passes inside carry the loss times coefficient and weight; yields the losses of these passes, without both.

        Args:
            weight: 0 for passes that shall not carry it.
        """
        self._weight, self._seen = weight, []
        try:
            yield self._seen
        finally:
            self._weight = 0.0

    def carried(self, hidden_NH: Tensor, loss: Tensor) -> Tensor:
        """The same hidden states, with the loss behind them."""
        self._seen.append(loss.detach())
        carried: Tensor = _Carried.apply(hidden_NH, loss * (self.coefficient * self._weight))  # type: ignore[no-untyped-call]
        return carried


class _Carried(torch.autograd.Function):
    """The first tensor as it is; backward, the second is a term of what is minimised."""

    @staticmethod
    def forward(ctx: Any, hidden_NH: Tensor, loss: Tensor) -> Tensor:
        ctx.loss_like = loss.detach()
        return hidden_NH.view_as(hidden_NH)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        return gradients[0], torch.ones_like(ctx.loss_like)


class LanguageModel(nn.Module, ABC):
    """A causal language model seen through its hidden states.

    Attributes:
        balance: The load-balancing loss of its experts; None: it has no experts, or none that is known.
        shares_prefixes: Whether :meth:`forward` takes batches with a shared prefix.
    """

    balance: ExpertBalance | None = None
    shares_prefixes: bool = False
    vocab_size: int
    hidden_size: int
    num_layers: int
    max_context: int

    @abstractmethod
    def forward(self, batch: PackedBatch) -> Tensor:
        """Hidden states after the final norm, ``[N, H]``; documents do not see each other."""

    @abstractmethod
    def forward_with_layers(self, batch: PackedBatch, layers: Sequence[int]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What :meth:`forward` gives, and the residual stream after each of some layers (from 0), ``[N, H]`` each.

        Raises:
            CompatibilityError: A layer is not there, or the model is not of a family whose layers can be read.
        """

    @property
    def number_format(self) -> str:
        """What the weights are held and computed in: ``float32``, ``bfloat16``; ``4bit+bfloat16`` of quantised ones."""
        return str(self.head().weight_VH.dtype).removeprefix("torch.")

    @abstractmethod
    def head(self) -> Head:
        """The head, sharing storage with the parameters."""

    @abstractmethod
    def save_weights(
        self, directory: Path, *, dtype: torch.dtype | None = None, shard_bytes: int = SHARD_BYTES
    ) -> None:
        """Write ``config.json`` and the weights in Hugging Face's names and layout.

        Args:
            dtype: Of the weights in the files, rounded to nearest, ties to even; None: as they are in memory.
            shard_bytes: Most bytes of weights in one file; more are shards with an index.
        """
