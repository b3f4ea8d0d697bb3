"""Adapters in a Decoder: layers of its own, a fused matrix with one for each of its projections.

In: a :class:`Decoder`. Out: what :mod:`spiritsafe.models.lora.adapters` asks of whatever carries adapters, and sizes
that follow from a configuration alone. Adapters belong to Hugging Face's projections, so that peft reads them;
embedding, head and norms have none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor, nn

from spiritsafe.core.seeds import derive_seed
from spiritsafe.models.decoder.architectures import LAYER_TENSORS, DecoderTensor
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.lora_layer import AdaptedRows, LoraLayer, draw_first_map
from spiritsafe.models.decoder.module import Block, Decoder, PackableLinear
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.transformers_backend.projections import LORA_TARGETS, LoraTarget

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
class DecoderAdapters:
    """A Decoder as a carrier of adapters.

    Args:
        decoder: With adapters or without.

    Attributes:
        is_transposed: Whether matrices are held as [input, output].
    """

    is_transposed = False

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    @property
    def base_format(self) -> str | None:
        """How the matrices below adapters are held: "4bit", "8bit"; None: as they are computed with."""
        return self._decoder.weight_format

    def add(self, config: LoraConfig) -> None:
        """Give the linear layers fresh adapters."""
        for index, block in enumerate(_blocks(self._decoder)):
            for name, names in _LAYERS.items():
                projection: PackableLinear = getattr(block, name)
                layer = _make_layer(self._decoder, projection, _rows_of(self._decoder.config, names), config)
                if layer is None:
                    continue
                projection.lora = layer
                with torch.no_grad():
                    layer.b_PR.zero_()
                    for part, a_RI, _ in layer.maps():
                        rank, width = a_RI.shape
                        seed = derive_seed(config.seed, "lora", index, part.name)
                        a_RI.copy_(draw_first_map((rank, width), seed))

    def config(self) -> LoraConfig | None:
        """Rank, scale and targets; None without adapters."""
        layers = [layer for index, _, layer in _adapted(self._decoder) if index == 0]
        if not layers:
            return None
        names = {part.name for layer in layers for part in layer.parts}
        targets = tuple(target for target in LORA_TARGETS if target in names)
        return LoraConfig(rank=layers[0].rank, alpha=layers[0].alpha, targets=targets)

    def state(self) -> dict[str, Tensor]:
        """The maps under peft's names, as views of the parameters."""
        state: dict[str, Tensor] = {}
        for index, _, layer in _adapted(self._decoder):
            for part, a_RI, b_ER in layer.maps():
                first, second = _names(index, part.name)
                state[first], state[second] = a_RI.detach(), b_ER.detach()
        return state

    def parameters(self) -> set[nn.Parameter]:
        """What the adapters are made of."""
        return {parameter for _, _, layer in _adapted(self._decoder) for parameter in layer.parameters()}

    def shapes(self, config: LoraConfig) -> dict[str, tuple[int, int]]:
        """What :meth:`state` would hold of such adapters."""
        return lora_shapes(self._decoder.config, config)

    def module_names(self) -> tuple[str, ...]:
        """By which peft finds the layers of a model of transformers."""
        config = self.config()
        return () if config is None else tuple(f"{target}_proj" for target in config.targets)

    def merge(self) -> None:
        """Fold the adapters into the weights and drop them; a quantised base becomes whole."""
        adapted = list(_adapted(self._decoder))
        self._decoder.dequantise()
        for _, projection, layer in adapted:
            projection.weight.copy_(layer.merged(projection.weight))
            projection.lora = None

    @contextmanager
    def without(self) -> Iterator[None]:
        """Inside the block the model is its base."""
        adapted = list(_adapted(self._decoder))
        for _, projection, _ in adapted:
            projection.lora = None
        try:
            yield
        finally:
            for _, projection, layer in adapted:
                projection.lora = layer


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


def _adapted(model: Decoder) -> Iterator[tuple[int, PackableLinear, LoraLayer]]:
    """Every adapted layer, with the number of its block."""
    for index, block in enumerate(_blocks(model)):
        for projection in block.projections():
            if projection.lora is not None:
                yield index, projection, projection.lora


def lora_shapes(config: DecoderConfig, lora: LoraConfig) -> dict[str, tuple[int, int]]:
    """Peft's names and sizes of the maps that such adapters of such a Decoder have."""
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
    """Numbers that such adapters of such a Decoder hold."""
    return sum(rows * columns for rows, columns in lora_shapes(config, lora).values())
