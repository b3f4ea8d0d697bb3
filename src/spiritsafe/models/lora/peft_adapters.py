"""Adapters in a model that transformers runs: the peft library's own layers, put into the model.

In: a :class:`TransformersModel`. Out: what :mod:`spiritsafe.models.lora.adapters` asks of whatever carries adapters.
Layers are chosen by their names (:mod:`spiritsafe.models.transformers_backend.projections`); a fused matrix has one
adapter, for all that it computes. Of a mixture of experts the attention has adapters: experts are stored together as
one tensor, which is no linear layer, and peft takes the names of shared ones for theirs.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.seeds import derive_seed
from spiritsafe.models.decoder.lora_layer import draw_first_map
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.transformers_backend.model import TransformersModel
from spiritsafe.models.transformers_backend.projections import (
    ATTENTION,
    LoraTarget,
    is_wanted,
    projections_of,
    targets_of,
)
from spiritsafe.models.transformers_backend.quantisation import let_train_over
from spiritsafe.models.transformers_backend.sizes import num_experts_of

_NAME = "default"
"""Peft's name of the only adapter."""
_PREFIX = "base_model.model."
_SHOWN = 8


def peft_library() -> Any:
    """The library.

    Raises:
        CompatibilityError: It is not installed, or does not load.
    """
    try:
        import peft
    except (ImportError, OSError) as error:
        raise CompatibilityError(
            f"Adapters on a model that transformers runs are peft's: {error}.",
            hint="Run `pip install 'spiritsafe[adapters]'`.",
        ) from error
    return peft


@final
class PeftAdapters:
    """A model of transformers as a carrier of adapters.

    Args:
        model: With adapters or without.
    """

    def __init__(self, model: TransformersModel) -> None:
        self._model = model
        self._inner: Any = model.model

    @property
    def is_transposed(self) -> bool:
        """Whether matrices are held as [input, output], as GPT-2's are."""
        return any(isinstance(module, Conv1D) for module in self._inner.modules())

    @property
    def base_format(self) -> str | None:
        """How the matrices below adapters are held: "4bit", "llm.int8"; None: as they are computed with."""
        return "llm.int8" if self._model.weight_format == "8bit" else self._model.weight_format

    def _layers(self) -> dict[str, Any]:
        """Peft's layers, by the paths of those that they stand for."""
        modules = self._inner.named_modules()
        return {path: one for path, one in modules if isinstance(getattr(one, "lora_A", None), nn.ModuleDict)}

    def _chosen(self, targets: Collection[LoraTarget]) -> dict[str, nn.Module]:
        """The layers that get adapters, of a model that has none.

        Raises:
            CompatibilityError: There is none, or a fused one is wanted in part.
        """
        inside = {id(module) for module in self._inner.get_decoder().modules()}
        linear = {
            path: module
            for path, module in self._inner.named_modules()
            if isinstance(module, nn.Linear | Conv1D) and id(module) in inside
        }
        has_experts = num_experts_of(self._inner.config.get_text_config().to_dict())[0] > 1
        allowed = ATTENTION.intersection(targets) if has_experts else set(targets)
        chosen = {path: module for path, module in linear.items() if is_wanted(path, allowed)}
        partly = next((path for path in linear if path not in chosen and allowed & set(projections_of(path))), None)
        if partly is not None:
            fused = projections_of(partly)
            raise CompatibilityError(
                f"{type(self._inner).__name__} keeps {', '.join(fused)} in one matrix ({partly}), which has one "
                f"adapter; targets name {', '.join(sorted(allowed & set(fused)))} alone.",
                hint=f"Name all of {', '.join(fused)} in targets, or none of them.",
            )
        if not chosen:
            names = sorted({path.rpartition(".")[2] for path in linear})
            shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
            raise CompatibilityError(
                f"No linear layer of {type(self._inner).__name__} is known as one of {', '.join(targets)}; it has "
                f"{shown or 'none'}.",
                hint="Of a mixture of experts q, k, v and o have adapters. Else train all weights of this model.",
            )
        return chosen

    def add(self, config: LoraConfig) -> None:
        """Give the linear layers fresh adapters.

        Raises:
            CompatibilityError: None is known, a fused one is wanted in part, or peft is not installed.
        """
        chosen, peft = self._chosen(config.targets), peft_library()
        let_train_over(self._inner)
        settings = peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=0.0,
            target_modules=sorted(chosen),
            fan_in_fan_out=self.is_transposed,
        )
        with warnings.catch_warnings():  # of transformers' own renamed attributes, and of mixed layers' layouts
            warnings.simplefilter("ignore")
            peft.inject_adapter_in_model(settings, self._inner, adapter_name=_NAME)
        del self._inner.peft_config  # else peft takes a second start for a second adapter
        layers = self._layers()
        if set(layers) != set(chosen):
            raise CompatibilityError(
                f"peft put adapters on other layers of {type(self._inner).__name__} than it was told.",
                hint="Train all weights of this model.",
            )
        for path, layer in layers.items():
            first, second = self._maps(layer)
            for part in (first, second):
                part.to(device=self._model.device, dtype=self._model.dtype)
                part.requires_grad_(True)
            with torch.no_grad():
                rank, width = first.weight.shape
                first.weight.copy_(draw_first_map((rank, width), derive_seed(config.seed, "lora", path)))
                second.weight.zero_()

    @staticmethod
    def _maps(layer: Any) -> tuple[nn.Linear, nn.Linear]:
        return layer.lora_A[_NAME], layer.lora_B[_NAME]

    def config(self) -> LoraConfig | None:
        """Rank, scale and targets; None without adapters."""
        layers = self._layers()
        if not layers:
            return None
        one = next(iter(layers.values()))
        return LoraConfig(rank=one.r[_NAME], alpha=one.lora_alpha[_NAME], targets=targets_of(layers))

    def state(self) -> dict[str, Tensor]:
        """The maps under peft's names, as views of the parameters."""
        state: dict[str, Tensor] = {}
        for path, layer in self._layers().items():
            first, second = self._maps(layer)
            state[f"{_PREFIX}{path}.lora_A.weight"] = first.weight.detach()
            state[f"{_PREFIX}{path}.lora_B.weight"] = second.weight.detach()
        return state

    def parameters(self) -> set[nn.Parameter]:
        """What the adapters are made of."""
        parts = [part for layer in self._layers().values() for part in self._maps(layer)]
        return {parameter for part in parts for parameter in part.parameters()}

    def shapes(self, config: LoraConfig) -> dict[str, tuple[int, int]]:
        """What :meth:`state` would hold of such adapters.

        Raises:
            CompatibilityError: As :meth:`add`, but for peft.
        """
        with self.without():
            chosen = self._chosen(config.targets)
        shapes: dict[str, tuple[int, int]] = {}
        for path, module in chosen.items():
            num_in, num_out = _widths(module)
            shapes[f"{_PREFIX}{path}.lora_A.weight"] = (config.rank, num_in)
            shapes[f"{_PREFIX}{path}.lora_B.weight"] = (num_out, config.rank)
        return shapes

    def module_names(self) -> tuple[str, ...]:
        """By which peft finds the layers: the shortest ends of their paths that no other layer has."""
        layers = list(self._layers())
        with self.without():
            others = [path for path, _ in self._inner.named_modules() if path not in set(layers)]
        for length in (1, 2):
            ends = {_end(path, length) for path in layers}
            if not any(_end(path, length) in ends for path in others):
                return tuple(sorted(ends))
        return tuple(sorted(layers))

    def merge(self) -> None:
        """Fold the adapters into the weights and drop them; a quantised base becomes whole."""
        layers = self._layers()
        for path, layer in layers.items():
            self._inner.set_submodule(path, layer.base_layer)
        self._model.dequantise()
        for path, layer in layers.items():
            self._inner.get_submodule(path).weight.add_(layer.get_delta_weight(_NAME))

    @contextmanager
    def without(self) -> Iterator[None]:
        """Inside the block the model is its base."""
        layers = self._layers()
        for path, layer in layers.items():
            self._inner.set_submodule(path, layer.base_layer)
        try:
            yield
        finally:
            for path, layer in layers.items():
                self._inner.set_submodule(path, layer)


def _end(path: str, length: int) -> str:
    return ".".join(path.split(".")[-length:])


def _widths(module: nn.Module) -> tuple[int, int]:
    """Input and output width."""
    if isinstance(module, Conv1D):
        return int(module.weight.shape[0]), int(module.weight.shape[1])
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    raise TypeError("a linear layer is of one of two kinds")
