"""Teachers of every family on disk, to cut students from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from architectures import peer_of, random_config, random_documents
from transformers import AutoModelForCausalLM, PreTrainedModel

from spiritsafe.core.files.atomic import write_json
from spiritsafe.models.checkpoints.directory import write_lineage
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import Document, pack_documents
from spiritsafe.models.sources.tiny import write_byte_tokenizer

VOCAB = 260
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 48,
    "intermediate_size": 40,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 8,
    "rms_norm_eps": 1e-6,
}


def teacher_config(family: str, *, seed: int = 1, **changes: Any) -> dict[str, Any]:
    """Six heads over three key-value heads."""
    config = random_config(family, seed) | SIZES | {"max_position_embeddings": 64} | changes

    return {name: value for name, value in config.items() if value is not None}


def write_teacher(directory: Path, peer: PreTrainedModel) -> Path:
    """transformers' own files, a byte tokenizer and a lineage."""
    peer.save_pretrained(directory)
    special = write_byte_tokenizer(directory, max_length=64)
    write_json(directory / "generation_config.json", special)
    write_lineage(directory, name="teacher", license="MIT")
    return directory


def teacher_of(directory: Path, family: str, *, seed: int = 1, **changes: Any) -> Path:
    """A teacher with random weights."""
    return write_teacher(directory, peer_of(teacher_config(family, seed=seed, **changes), seed))


def documents(count: int = 4) -> list[Document]:
    return random_documents(tuple(9 + 4 * index for index in range(count)), VOCAB, seed=5)


@torch.no_grad()
def peer_logits(directory: Path, document: Document) -> torch.Tensor:
    """What transformers makes of a directory's model, ``[N, V]``."""
    peer = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    logits: torch.Tensor = peer(torch.tensor([document.token_ids])).logits[0]
    return logits


@torch.no_grad()
def decoder_logits(model: Decoder, document: Document) -> torch.Tensor:
    return model.logits(model(pack_documents([document])))
