"""What training, distilling and sampling need of a model: hidden states and a head.

Implemented by the Decoder (fast path) and by the transformers fallback. Shapes: N tokens of a packed batch, H hidden
width, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn

from spiritsafe.models.batch import PackedBatch

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


class LanguageModel(nn.Module, ABC):
    """A causal language model seen through its hidden states.

    Attributes:
        shares_prefixes: Whether :meth:`forward` takes batches with a shared prefix.
    """

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
