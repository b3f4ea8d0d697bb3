"""Opening a model directory: the Decoder where it fits, transformers elsewhere; with chat format and lineage.

In: a directory from :func:`spiritsafe.models.resolve_source`. Out: a :class:`LoadedModel`. Weights are mapped from
disk and copied once, straight into their final type and place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import torch

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.files.digests import file_model
from spiritsafe.core.records import Checkpoint
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.checkpoints.lineage import read_checkpoint
from spiritsafe.models.checkpoints.tensors import iterate_tensors
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.decoder.quantised import WeightFormat, bitsandbytes_functions
from spiritsafe.models.interface.language_model import LanguageModel
from spiritsafe.models.transformers_backend.choice import choose_code
from spiritsafe.models.transformers_backend.model import TransformersModel
from spiritsafe.models.transformers_backend.sizes import measure_size, read_config, refuse_file


def active_parameters(directory: Path, checkpoint: Checkpoint) -> int:
    """Parameters of a model that one token passes through; all of a dense one, as its lineage counts them.

    Raises:
        SourceError: Configuration or weights are missing or damaged.
    """
    if file_model(directory) is not None:  # of an architecture of the Decoder, which are dense
        return checkpoint.num_parameters
    size = measure_size(directory)
    return checkpoint.num_parameters - (size.num_parameters - size.num_active)


@final
@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model ready to train or sample.

    Attributes:
        model: Weights and forward.
        chat: How conversations become its tokens.
        directory: Where it came from.
    """

    model: LanguageModel
    chat: ChatFormat
    checkpoint: Checkpoint
    directory: Path

    @property
    def num_active(self) -> int:
        """Parameters that one token passes through: all but the experts that are not chosen."""
        return active_parameters(self.directory, self.checkpoint)


def load_decoder(
    directory: Path,
    *,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    weights: WeightFormat | None = None,
) -> Decoder:
    """The directory's weights in a Decoder.

    Args:
        weights: As of :func:`load_model`.

    Raises:
        SourceError: Configuration or weights are missing or damaged.
        CompatibilityError: The Decoder does not implement this architecture.
    """
    config = DecoderConfig.from_hf(read_config(directory))
    if weights is not None:
        bitsandbytes_functions()  # before anything is allocated
    model = Decoder(config, dtype=dtype, device=device, seed=None, weights=weights)
    model.load_state_dict_hf(dict(iterate_tensors(directory)))
    return model


def load_model(
    directory: Path,
    *,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    implementation: Literal["auto", "decoder", "transformers"] = "auto",
    weights: WeightFormat | None = None,
) -> LoadedModel:
    """Open a model directory.

    Args:
        directory: Configuration, weights, tokenizer and ``lineage.json``.
        dtype: Of the weights in memory, and of what is computed.
        implementation: "auto" takes the Decoder for what it implements and transformers for the rest.
        weights: Hold the layers' matrices in "8bit" or "4bit", frozen; embedding, head and norms stay in ``dtype``.
            They are quantised one at a time. In the Decoder both formats are bitsandbytes' blocks of 64; of a model
            that transformers runs 8 bits are its LLM.int8.

    Raises:
        SourceError: A file is missing or damaged.
        CompatibilityError: It is a GGUF file, the chosen implementation does not fit, vocabulary and weights do not
            belong together, or ``weights`` needs bitsandbytes and it is not there.
    """
    refuse_file(directory)
    checkpoint = read_checkpoint(directory)
    chat = ChatFormat(directory)
    model: LanguageModel
    if implementation == "transformers" or (implementation == "auto" and choose_code(directory).decoder is None):
        model = TransformersModel(directory, dtype=dtype, device=device, weights=weights)
    else:
        model = load_decoder(directory, dtype=dtype, device=device, weights=weights)
    if chat.vocab_size > model.vocab_size:
        raise CompatibilityError(
            f"{directory}: the tokenizer knows {chat.vocab_size} tokens, the weights only {model.vocab_size}.",
            hint="Tokenizer and weights come from different models; fetch the model again.",
        )
    return LoadedModel(model=model, chat=chat, checkpoint=checkpoint, directory=directory)
