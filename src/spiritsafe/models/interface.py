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

from torch import Tensor, nn

from spiritsafe.models.batch import PackedBatch


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

    @property
    def number_format(self) -> str:
        """What the weights are held and computed in: ``float32``, ``bfloat16``; ``4bit+bfloat16`` of quantised ones."""
        return str(self.head().weight_VH.dtype).removeprefix("torch.")

    @abstractmethod
    def head(self) -> Head:
        """The head, sharing storage with the parameters."""

    @abstractmethod
    def save_weights(self, directory: Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` in Hugging Face's names and layout."""
