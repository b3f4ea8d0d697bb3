"""Every architecture that the Decoder does not cover, through transformers, behind the same interface.

In: a Hugging Face directory. Out: a :class:`LanguageModel`. Documents are padded on the right: under causal attention
no token sees padding behind it. Shapes: N tokens, D documents, T tokens of the longest, H hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.models.batch import PackedBatch
from spiritsafe.models.interface import Head, LanguageModel

__all__ = ["TransformersModel"]

_LOGIT_TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest difference, relative to the largest logit, between hidden states times head and the model's own logits."""

_UNBOUNDED = 1 << 20
"""Context of a model that names none (recurrent ones)."""


@final
class TransformersModel(LanguageModel):
    """A causal language model of the transformers library.

    Args:
        directory: A Hugging Face directory.
        dtype: Of the weights.
        device: Of the weights.

    Raises:
        SourceError: transformers cannot load it.
        CompatibilityError: Its logits are not a linear map of its hidden states (soft caps, biases, extra layers).
    """

    def __init__(self, directory: Path, *, dtype: torch.dtype, device: torch.device | str) -> None:
        super().__init__()
        try:
            model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise SourceError(
                f"transformers cannot load {directory}: {error}.",
                hint="Check that config.json and the weights belong together and that this architecture is known to "
                "the installed transformers.",
            ) from error
        self.model: Any = model.to(device)
        config = self.model.config.get_text_config()
        self.vocab_size = int(self._weight().shape[0])
        self.hidden_size = int(self._weight().shape[1])
        self.num_layers = int(config.num_hidden_layers)
        self.max_context = int(getattr(config, "max_position_embeddings", None) or _UNBOUNDED)
        self._head_scale = self._measure_head_scale()

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return self._weight().device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self._weight().dtype

    def _weight(self) -> nn.Parameter:
        embeddings = self.model.get_output_embeddings()
        if embeddings is None or getattr(embeddings, "bias", None) is not None:
            raise CompatibilityError(
                f"The head of {type(self.model).__name__} is not a plain matrix.",
                hint="Use this model as a remote endpoint instead.",
            )
        weight: nn.Parameter = embeddings.weight
        return weight

    def _measure_head_scale(self) -> float:
        """``logits / (hidden @ weight.T)`` on a few tokens; whatever is not one constant is refused."""
        weight_VH = self._weight()
        tokens = torch.arange(3, 7, device=weight_VH.device).remainder(self.vocab_size)[None]
        training = self.model.training
        self.model.eval()
        with torch.no_grad():
            hidden = self.model.get_decoder()(input_ids=tokens, use_cache=False).last_hidden_state
            ours = (hidden @ weight_VH.T).float()
            theirs = self.model(input_ids=tokens, use_cache=False).logits.float()
        self.model.train(training)
        scale = float((ours * theirs).sum() / (ours * ours).sum())
        scale = 1.0 if abs(scale - 1.0) < 1e-3 else scale
        error = float((ours * scale - theirs).abs().max() / theirs.abs().max())
        if error > _LOGIT_TOLERANCE.get(weight_VH.dtype, 1e-1):
            raise CompatibilityError(
                f"The logits of {type(self.model).__name__} are not a linear map of its hidden states "
                f"(relative difference {error:.2g}).",
                hint="Use this model as a remote endpoint instead; training and scoring need a linear head.",
            )
        return scale

    def forward(self, batch: PackedBatch) -> Tensor:
        """Hidden states after the final norm, ``[N, H]``.

        Raises:
            CompatibilityError: A document is longer than the model's context, or the batch shares a prefix.
        """
        return self.forward_with_layers(batch, ())[0]

    def forward_with_layers(self, batch: PackedBatch, layers: Sequence[int]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What :meth:`forward` gives, and the stream after each of some layers, in the order asked for.

        Raises:
            CompatibilityError: As :meth:`forward`, or the model's layers cannot be read.
        """
        if batch.prefix_length:
            raise CompatibilityError(
                "A transformers model does not take batches with a shared prefix.",
                hint="Pack the documents without prefix_length for models whose shares_prefixes is False.",
            )
        longest = max(batch.lengths)
        if longest > self.max_context:
            raise CompatibilityError(
                f"A document of {longest} tokens does not fit this model's context of {self.max_context}.",
                hint="Shorten or split the document, or use a model with a longer context.",
            )
        lengths_D = torch.tensor(batch.lengths, device=batch.token_ids_N.device)
        mask_DT = torch.arange(longest, device=lengths_D.device) < lengths_D[:, None]
        ids_DT = torch.zeros(len(batch.lengths), longest, dtype=torch.int64, device=lengths_D.device)
        ids_DT[mask_DT] = batch.token_ids_N
        # The mask matters to experts' load balancing and to non-attention layers; causality alone hides padding.
        with self._kept_layers(layers) as kept:
            output = self.model.get_decoder()(input_ids=ids_DT, attention_mask=mask_DT.long(), use_cache=False)
        hidden_NH: Tensor = output.last_hidden_state[mask_DT]
        return hidden_NH, tuple(kept[layer][mask_DT] for layer in layers)

    @contextmanager
    def _kept_layers(self, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
        """Outputs ``[D, T, H]`` of some layers of the forward pass made inside the block; the others are not kept."""
        blocks = getattr(self.model.get_decoder(), "layers", None) if layers else []
        if blocks is None or not all(0 <= layer < len(blocks) for layer in layers):
            raise CompatibilityError(
                f"Layers {list(layers)} of {type(self.model).__name__} cannot be read.",
                hint="Name layers that the model has; models without a plain list of layers cannot be matched.",
            )
        kept: dict[int, Tensor] = {}

        def keeper(layer: int) -> Callable[[nn.Module, object, Any], None]:
            def keep(module: nn.Module, inputs: object, output: Any) -> None:
                kept[layer] = output[0] if isinstance(output, tuple) else output

            return keep

        handles = [blocks[layer].register_forward_hook(keeper(layer)) for layer in layers]
        try:
            yield kept
        finally:
            for handle in handles:
                handle.remove()

    def head(self) -> Head:
        """The head, sharing storage with the parameters."""
        return Head(weight_VH=self._weight(), scale=self._head_scale)

    def save_weights(self, directory: Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` (shards for very large models)."""
        self.model.save_pretrained(directory)
