"""LoRA: a model trains small adapters and keeps its weights.

In: a model and a :class:`LoraConfig`. Out: the same model, whose weights are frozen and whose linear
layers carry adapters: h = W₀x + (alpha / rank)·BAx with B = 0 at the start (arXiv 2106.09685 §4.1). Training and
sampling see them without being told. What carries them in a Decoder is its own
(:mod:`spiritsafe.models.lora.decoder_adapters`), in a model that transformers runs peft's
(:mod:`spiritsafe.models.lora.peft_adapters`); on disk they are alike (:mod:`spiritsafe.models.lora.files`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, final

import torch
from torch import Tensor, nn

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import PackedBatch
from spiritsafe.models.interface.language_model import SHARD_BYTES, Head, LanguageModel
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.lora.decoder_adapters import DecoderAdapters
from spiritsafe.models.lora.peft_adapters import PeftAdapters
from spiritsafe.models.transformers_backend.model import TransformersModel


class AdapterCarrier(Protocol):
    """A model as what carries adapters."""

    @property
    def is_transposed(self) -> bool:
        """Whether matrices are held as [input, output], as GPT-2's are."""

    @property
    def base_format(self) -> str | None:
        """How the matrices below adapters are held; None: as they are computed with."""

    def add(self, config: LoraConfig) -> None:
        """Give the linear layers fresh adapters."""

    def config(self) -> LoraConfig | None:
        """Rank, scale and targets; None without adapters."""

    def state(self) -> dict[str, Tensor]:
        """The maps under peft's names, as views of the parameters."""

    def parameters(self) -> set[nn.Parameter]:
        """What the adapters are made of."""

    def shapes(self, config: LoraConfig) -> dict[str, tuple[int, int]]:
        """What :meth:`state` would hold of such adapters."""

    def module_names(self) -> tuple[str, ...]:
        """By which peft finds the layers of a model of transformers."""

    def merge(self) -> None:
        """Fold the adapters into the weights and drop them; a quantised base becomes whole."""

    def without(self) -> AbstractContextManager[None]:
        """Inside the block the model is its base."""


def _carrier_of(model: nn.Module) -> AdapterCarrier | None:
    """The one place that knows which kinds of models carry adapters."""
    if isinstance(model, Decoder):
        return DecoderAdapters(model)
    return PeftAdapters(model) if isinstance(model, TransformersModel) else None


def adapter_carrier(model: LanguageModel) -> AdapterCarrier:
    """The model, as what carries adapters.

    Raises:
        CompatibilityError: It is of neither kind that does.
    """
    carrier = _carrier_of(model)
    if carrier is None:
        raise CompatibilityError(
            f"{type(model).__name__} cannot carry LoRA adapters: its linear layers are not known.",
            hint="Take a model as load_model gives it, or train all weights.",
        )
    return carrier


def add_lora(model: LanguageModel, config: LoraConfig) -> None:
    """Freeze a model's weights and give its linear layers fresh adapters, in the weights' type.

    Raises:
        CompatibilityError: The model has adapters already, or no linear layer that is known; or it is transformers'
            and peft is not installed.
    """
    carrier = adapter_carrier(model)
    if carrier.config() is not None:
        raise CompatibilityError(
            "The model has adapters already.", hint="Fold them in with merge_lora, or load the model again."
        )
    carrier.add(config)
    adapters = carrier.parameters()
    for parameter in model.parameters():
        parameter.requires_grad_(parameter in adapters)


def lora_config(model: nn.Module) -> LoraConfig | None:
    """Rank, scale and targets of a model's adapters (not the seed they were drawn from); None if it has none."""
    carrier = _carrier_of(model)
    return None if carrier is None else carrier.config()


def lora_state(model: nn.Module) -> dict[str, Tensor]:
    """The adapters' maps under peft's names, as views of the parameters; empty for a model without adapters."""
    carrier = _carrier_of(model)
    return {} if carrier is None else carrier.state()


def lora_parameters(model: nn.Module) -> set[nn.Parameter]:
    """What adapters are made of; empty for a model without."""
    carrier = _carrier_of(model)
    return set() if carrier is None else carrier.parameters()


def num_trainable(model: nn.Module) -> int:
    """Numbers that training would change."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@torch.no_grad()
def merge_lora(model: LanguageModel) -> None:
    """Fold the adapters into the weights, W ← W + s·B·A, and drop them; all weights are trainable afterwards.

    Of a quantised base W is what its codes stand for, which is what the adapters were trained on; the whole model is
    in memory in its own format then. Of a Decoder :class:`~spiritsafe.models.MergedLora` writes the same without that.

    Raises:
        CompatibilityError: The model has no adapters, or its weights are not float32: in half precision a weight
            swallows every change below 1/500 of its size, and what the adapters learnt would be lost.
    """
    carrier = _with_adapters(model)
    dtype = model.head().weight_VH.dtype
    if dtype not in (torch.float32, torch.float64):
        raise CompatibilityError(
            f"Weights in {str(dtype).removeprefix('torch.')} cannot take up what small adapters add to them.",
            hint="Convert the model first: model.to(torch.float32); or load base and adapter in float32.",
        )
    carrier.merge()
    model.requires_grad_(True)


def _with_adapters(model: LanguageModel) -> AdapterCarrier:
    carrier = adapter_carrier(model)
    if carrier.config() is None:
        raise CompatibilityError("The model has no adapters.", hint="Call add_lora or load_lora first.")
    return carrier


@contextmanager
def without_lora(model: LanguageModel) -> Iterator[None]:
    """Inside the block the model is its base: the adapters are there, but take no part.

    Raises:
        CompatibilityError: The model has no adapters.
    """
    with _with_adapters(model).without():
        yield


@final
class LoraBase(LanguageModel):
    """The base under a model's adapters, as a model of its own: a reference policy that takes no memory.

    It shares every weight with the model; what it counts as its parameters are the model's frozen ones.

    Args:
        model: With adapters.

    Raises:
        CompatibilityError: The model has none.
    """

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        _with_adapters(model)
        self._models = (model,)  # in a tuple, so that the adapters do not become this module's
        self.shares_prefixes = model.shares_prefixes
        self.vocab_size, self.hidden_size = model.vocab_size, model.hidden_size
        self.num_layers, self.max_context = model.num_layers, model.max_context

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """The model's weights, adapters left out."""
        with without_lora(self._models[0]):
            named = list(self._models[0].named_parameters(prefix, recurse, remove_duplicate))
        yield from named

    def forward(self, batch: PackedBatch) -> Tensor:
        """The base's hidden states, without graph."""
        return self.forward_with_layers(batch, ())[0]

    def forward_with_layers(self, batch: PackedBatch, layers: Sequence[int]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The base's hidden states, and its stream after some layers, without graph."""
        with without_lora(self._models[0]), torch.no_grad():
            return self._models[0].forward_with_layers(batch, layers)

    def head(self) -> Head:
        """The model's own head, which has no adapter."""
        return self._models[0].head()

    def save_weights(
        self, directory: Path, *, dtype: torch.dtype | None = None, shard_bytes: int = SHARD_BYTES
    ) -> None:
        """Write the base's weights."""
        with without_lora(self._models[0]):
            self._models[0].save_weights(directory, dtype=dtype, shard_bytes=shard_bytes)
