"""LoRA: a Decoder trains small adapters and keeps its weights.

In: a :class:`Decoder` and a :class:`LoraConfig`. Out: the same Decoder, whose weights are frozen and whose linear
layers carry adapters: h = W₀x + (alpha / rank)·BAx with B = 0 at the start (arXiv 2106.09685 §4.1). Training and
sampling see them without being told. Adapters belong to Hugging Face's projections, so that peft reads them
(:mod:`spiritsafe.models.lora.files`); embedding, head and norms have none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self, final, get_args

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Record
from spiritsafe.core.seeds import derive_seed
from spiritsafe.models.batch import PackedBatch
from spiritsafe.models.decoder.architectures import LAYER_TENSORS, DecoderTensor
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.lora_layer import AdaptedRows, LoraLayer
from spiritsafe.models.decoder.module import Block, Decoder, PackableLinear
from spiritsafe.models.interface import SHARD_BYTES, Head, LanguageModel

LoraTarget = Literal["q", "k", "v", "o", "gate", "up", "down"]
LORA_TARGETS: tuple[LoraTarget, ...] = get_args(LoraTarget)

_PROJECTIONS: dict[str, DecoderTensor] = {
    target: next(tensor for tensor in LAYER_TENSORS if tensor.name.endswith(f".{target}_proj"))
    for target in LORA_TARGETS
}
_LAYERS = {
    projection.module: [target for target in LORA_TARGETS if _PROJECTIONS[target].module == projection.module]
    for projection in _PROJECTIONS.values()
}
"""The Decoder's linear layers, and which projections each is made of."""


@final
class LoraConfig(Record):
    """Adapters of a model. There is no dropout.

    Attributes:
        rank: Inner width of every adapter.
        alpha: Adapters are scaled by alpha / rank, so that a learning rate fits several ranks.
        targets: Which projections have one.
        seed: Of the first maps, which are drawn as peft draws them (Kaiming uniform: within 1 / √width); the second
            maps start at zero, so that a fresh adapter changes nothing.
    """

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0.0)
    targets: tuple[LoraTarget, ...] = LORA_TARGETS
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _targets_are_a_set(self) -> Self:
        if not self.targets or len(set(self.targets)) != len(self.targets):
            raise ValueError(f"targets must name projections, each once, not {list(self.targets)}")
        return self


def require_decoder(model: LanguageModel) -> Decoder:
    """The model, if it is a Decoder.

    Raises:
        CompatibilityError: It is not.
    """
    if not isinstance(model, Decoder):
        raise CompatibilityError(
            f"{type(model).__name__} cannot carry LoRA adapters: its linear layers are not known.",
            hint="Take a model of the Decoder's family, or train all weights.",
        )
    return model


def add_lora(model: LanguageModel, config: LoraConfig) -> None:
    """Freeze a Decoder's weights and give its linear layers fresh adapters, in the weights' type.

    Raises:
        CompatibilityError: The model is no Decoder, or has adapters already.
    """
    decoder = require_decoder(model)
    if lora_config(decoder) is not None:
        raise CompatibilityError(
            "The model has adapters already.", hint="Fold them in with merge_lora, or load the model again."
        )
    decoder.requires_grad_(False)
    for index, block in enumerate(_blocks(decoder)):
        for name, names in _LAYERS.items():
            projection: PackableLinear = getattr(block, name)
            layer = _make_layer(decoder, projection, _rows_of(decoder.config, names), config)
            if layer is None:
                continue
            projection.lora = layer
            with torch.no_grad():
                layer.b_PR.zero_()
                for part, a_RI, _ in layer.maps():
                    a_RI.copy_(_draw(tuple(a_RI.shape), derive_seed(config.seed, "lora", index, part.name)))


def _make_layer(
    model: Decoder, projection: PackableLinear, rows: Sequence[AdaptedRows], config: LoraConfig
) -> LoraLayer | None:
    parts = [part for part in rows if part.name in config.targets]
    if not parts:
        return None
    return LoraLayer(
        parts,
        in_features=projection.in_features,
        rank=config.rank,
        alpha=config.alpha,
        dtype=model.dtype,
        device=model.device,
    )


def _draw(shape: tuple[int, ...], seed: int) -> Tensor:
    """``kaiming_uniform_`` with a = √5, as peft and ``nn.Linear``: uniform within 1 / √width."""
    uniform = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return (2.0 * uniform - 1.0) / math.sqrt(shape[1])


def _rows_of(config: DecoderConfig, names: Sequence[LoraTarget]) -> list[AdaptedRows]:
    """Which rows of their fused matrix some projections are."""
    start = 0
    rows = []
    for name in names:
        stop = start + _shape(config, name)[0]
        rows.append(AdaptedRows(name, start, stop))
        start = stop
    return rows


def _shape(config: DecoderConfig, target: LoraTarget) -> tuple[int, ...]:
    """Output and input width of a projection."""
    return config.layer_shapes()[f"{_PROJECTIONS[target].name}.weight"]


def _blocks(model: Decoder) -> Iterator[Block]:
    for block in model.blocks:
        if not isinstance(block, Block):
            raise TypeError("a Decoder holds Blocks only")
        yield block


def _projections(model: Decoder) -> Iterator[tuple[int, PackableLinear, LoraLayer]]:
    """Every adapted layer, with the number of its block."""
    for index, block in enumerate(_blocks(model)):
        for projection in block.projections():
            if projection.lora is not None:
                yield index, projection, projection.lora


def lora_config(model: nn.Module) -> LoraConfig | None:
    """Rank, scale and targets of a model's adapters (not the seed they were drawn from); None if it has none."""
    if not isinstance(model, Decoder):
        return None
    layers = [layer for index, _, layer in _projections(model) if index == 0]
    if not layers:
        return None
    names = {part.name for layer in layers for part in layer.parts}
    targets = tuple(target for target in LORA_TARGETS if target in names)
    return LoraConfig(rank=layers[0].rank, alpha=layers[0].alpha, targets=targets)


def lora_state(model: nn.Module) -> dict[str, Tensor]:
    """The adapters' maps under peft's names, as views of the parameters; empty for a model without adapters."""
    state: dict[str, Tensor] = {}
    if isinstance(model, Decoder):
        for index, _, layer in _projections(model):
            for part, a_RI, b_ER in layer.maps():
                first, second = _names(index, part.name)
                state[first], state[second] = a_RI.detach(), b_ER.detach()
    return state


def lora_parameters(model: nn.Module) -> set[nn.Parameter]:
    """What adapters are made of; empty for a model without."""
    if not isinstance(model, Decoder):
        return set()
    return {parameter for _, _, layer in _projections(model) for parameter in layer.parameters()}


def lora_shapes(config: DecoderConfig, lora: LoraConfig) -> dict[str, tuple[int, int]]:
    """What :func:`lora_state` of such a model with such adapters holds: peft's names, and sizes."""
    shapes = {}
    for index in range(config.num_layers):
        for target in lora.targets:
            num_out, num_in = _shape(config, target)
            first, second = _names(index, target)
            shapes[first], shapes[second] = (lora.rank, num_in), (num_out, lora.rank)
    return shapes


def _names(layer: int, target: str) -> tuple[str, str]:
    path = f"base_model.model.model.layers.{layer}.{_PROJECTIONS[target].name}"
    return f"{path}.lora_A.weight", f"{path}.lora_B.weight"


def num_lora_parameters(config: DecoderConfig, lora: LoraConfig) -> int:
    """Numbers that such adapters of such a model hold."""
    return sum(rows * columns for rows, columns in lora_shapes(config, lora).values())


def num_trainable(model: nn.Module) -> int:
    """Numbers that training would change."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@torch.no_grad()
def merge_lora(model: LanguageModel) -> None:
    """Fold the adapters into the weights, W ← W + s·B·A, and drop them; all weights are trainable afterwards.

    Of a quantised base W is what its codes stand for, which is what the adapters were trained on; the whole model is
    in memory in its own format then. :class:`~spiritsafe.models.MergedLora` writes the same without that.

    Raises:
        CompatibilityError: The model has no adapters, or its weights are not float32: in half precision a weight
            swallows every change below 1/500 of its size, and what the adapters learnt would be lost.
    """
    adapted, decoder = _adapted(model), require_decoder(model)
    if decoder.dtype not in (torch.float32, torch.float64):
        raise CompatibilityError(
            f"Weights in {str(decoder.dtype).removeprefix('torch.')} cannot take up what small adapters add to them.",
            hint="Convert the model first: model.to(torch.float32); or load base and adapter in float32.",
        )
    decoder.dequantise()
    for _, projection, layer in adapted:
        projection.weight.copy_(layer.merged(projection.weight))
        projection.lora = None
    model.requires_grad_(True)


def _adapted(model: LanguageModel) -> list[tuple[int, PackableLinear, LoraLayer]]:
    adapted = list(_projections(require_decoder(model)))
    if not adapted:
        raise CompatibilityError("The model has no adapters.", hint="Call add_lora or load_lora first.")
    return adapted


@contextmanager
def without_lora(model: LanguageModel) -> Iterator[None]:
    """Inside the block the model is its base: the adapters are there, but take no part.

    Raises:
        CompatibilityError: The model has no adapters.
    """
    adapted = _adapted(model)
    for _, projection, _ in adapted:
        projection.lora = None
    try:
        yield
    finally:
        for _, projection, layer in adapted:
            projection.lora = layer


@final
class LoraBase(LanguageModel):
    """The base under a model's adapters, as a model of its own: a reference policy that takes no memory.

    It shares every weight with the model; what it counts as its parameters are the model's frozen ones.

    Args:
        model: A Decoder with adapters.

    Raises:
        CompatibilityError: The model has none.
    """

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        _adapted(model)
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
