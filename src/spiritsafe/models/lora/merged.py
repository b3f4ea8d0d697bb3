"""A base with its adapters folded in, written without ever being whole in memory.

In: a Decoder with adapters, its base quantised or not. Out: a model's weights, one tensor at a time, the same numbers
as :func:`~spiritsafe.models.merge_lora` gives: W + s·B·A, added in float32, where W is what a quantised base's codes
stand for, because that is the base that the adapters were trained on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.files.atomic import write_json
from spiritsafe.models.checkpoints.tensors import write_weights
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.decoder.weight_names import make_hf_tensors, quantised_hf_parts
from spiritsafe.models.interface.language_model import SHARD_BYTES, LanguageModel
from spiritsafe.models.lora.adapters import lora_config, lora_state, without_lora


@final
class MergedLora:
    """What :func:`~spiritsafe.models.save_checkpoint` writes of a model with adapters.

    Args:
        model: A Decoder with adapters; it is not changed.

    Raises:
        CompatibilityError: The model is no Decoder or has no adapters.
    """

    def __init__(self, model: LanguageModel) -> None:
        if not isinstance(model, Decoder):
            raise CompatibilityError(
                f"{type(model).__name__} cannot be written while its adapters are folded in.",
                hint="Fold them in with merge_lora, in memory, and save the model.",
            )
        self._model = model
        config = lora_config(model)
        if config is None:
            raise CompatibilityError("The model has no adapters.", hint="Call add_lora or load_lora first.")
        self._scale = config.alpha / config.rank
        with without_lora(model):
            self._plain = make_hf_tensors(self._model, self._model.config)
        self._quantised = quantised_hf_parts(self._model, self._model.config)
        self._adapters = lora_state(model)

    def save_weights(
        self, directory: Path, *, dtype: torch.dtype | None = None, shard_bytes: int = SHARD_BYTES
    ) -> None:
        """Write ``config.json`` and the weights so that transformers loads them.

        Args:
            dtype: Of the weights in the file, rounded once; None: float32.

        Raises:
            StorageError: The directory cannot be written.
        """
        shapes = {name: tuple(tensor.shape) for name, tensor in self._plain.items()}
        shapes |= {
            name: (weight.num_rows_of(part), weight.num_columns) for name, (weight, part) in self._quantised.items()
        }
        saved = dtype or torch.float32
        layout = [(name, saved, shapes[name]) for name in sorted(shapes)]
        write_weights(directory, layout, lambda name: self._merged(name).to(saved), shard_bytes=shard_bytes)
        config: dict[str, Any] = {**self._model.config.to_hf(), "dtype": str(saved).removeprefix("torch.")}
        config.pop("torch_dtype", None)
        write_json(directory / "config.json", config)

    @torch.no_grad()
    def _merged(self, name: str) -> Tensor:
        if name in self._quantised:
            weight, part = self._quantised[name]
            whole = weight.part(part, torch.float32)
        else:
            whole = self._plain[name].to(torch.float32, copy=True)
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        if (first := self._adapters.get(f"{stem}.lora_A.weight")) is not None:
            second = self._adapters[f"{stem}.lora_B.weight"]
            whole.addmm_(second.to(torch.float32), first.to(torch.float32), alpha=self._scale)
        return whole
