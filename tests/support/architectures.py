"""Random tiny configurations of every family, for parity with transformers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from spiritsafe.core.records import Checkpoint
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import Document, PackedBatch, pack_documents
from spiritsafe.models.transformers_backend.loading import LoadedModel

FAMILY_NAMES = ("llama", "mistral", "qwen2", "qwen3", "granite")
ROPES: tuple[dict[str, Any], ...] = (
    {"rope_type": "default", "rope_theta": 10000.0},
    {"rope_type": "default", "rope_theta": 500000.0},
    {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
    {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16},
    {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 16,
        "beta_fast": 24.0,
        "beta_slow": 2.0,
        "mscale": 0.7,
        "mscale_all_dim": 1.2,
        "truncate": False,
    },
)


def random_config(family: str, seed: int) -> dict[str, Any]:
    """A ``config.json`` drawn from what the family allows."""
    draw = random.Random(f"{family}:{seed}")
    kv_heads = draw.choice((1, 2))
    heads = kv_heads * draw.choice((1, 2, 3))
    head_dim = draw.choice((8, 16))
    hidden = heads * head_dim if family in ("qwen2", "granite") else heads * draw.choice((8, 12, 16))
    config: dict[str, Any] = {
        "model_type": family,
        "vocab_size": 96 + draw.randrange(40),
        "hidden_size": hidden,
        "intermediate_size": draw.choice((40, 64)),
        "num_hidden_layers": draw.choice((2, 3)),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 64,
        "rms_norm_eps": draw.choice((1e-5, 1e-6)),
        "tie_word_embeddings": draw.random() < 0.5,
        "rope_parameters": dict(ROPES[(seed + 3 * FAMILY_NAMES.index(family)) % len(ROPES)]),
        "initializer_range": 0.2,
        "hidden_act": "silu",
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": None,
    }
    if family in ("llama", "mistral", "qwen3"):
        config["head_dim"] = head_dim
    if family in ("llama", "qwen3", "granite"):
        config["attention_bias"] = draw.random() < 0.5
    if family in ("llama", "granite"):
        config["mlp_bias"] = draw.random() < 0.5
    if family == "mistral":
        config["sliding_window"] = draw.choice((None, 5))
    if family in ("qwen2", "qwen3"):
        config["use_sliding_window"] = draw.random() < 0.5
        config["sliding_window"] = 6
        config["max_window_layers"] = 1
    if family == "granite":
        config |= {
            "embedding_multiplier": 3.0,
            "attention_multiplier": 0.2,
            "residual_multiplier": 0.4,
            "logits_scaling": 2.5,
        }
    return config


def peer_of(config: dict[str, Any], seed: int = 0) -> PreTrainedModel:
    """transformers' own model of a configuration, every weight (norms and biases too) random."""
    values = dict(config)
    peer = AutoModelForCausalLM.from_config(AutoConfig.for_model(values.pop("model_type"), **values)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in peer.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name:
                parameter.copy_(1 + 0.2 * noise)
            elif parameter.dim() == 1:
                parameter.copy_(0.3 * noise)
            else:
                parameter.copy_(0.2 * noise)
    return peer


def decoder_of(peer: PreTrainedModel) -> Decoder:
    """Our Decoder with the peer's weights."""
    decoder = Decoder(DecoderConfig.from_hf(peer.config.to_dict()), seed=None)
    tensors = {k: v for k, v in peer.state_dict().items() if not (decoder.config.tied and k == "lm_head.weight")}
    decoder.load_state_dict_hf(tensors)
    return decoder


def random_documents(lengths: tuple[int, ...], vocab_size: int, seed: int = 0) -> list[Document]:
    """Documents of given lengths, all tokens supervised but the first."""
    draw = random.Random(seed)
    return [
        Document(
            token_ids=tuple(draw.randrange(vocab_size) for _ in range(length)),
            supervised=(False, *(True,) * (length - 1)),
        )
        for length in lengths
    ]


def packed(lengths: tuple[int, ...], vocab_size: int, seed: int = 0) -> PackedBatch:
    return pack_documents(random_documents(lengths, vocab_size, seed))


def loaded_decoder(directory: Path, family: str = "llama", seed: int = 1, **changes: Any) -> LoadedModel:
    """A Decoder of any family, its weights wide enough to have opinions, with a byte tokenizer's chat format."""
    config = random_config(family, seed) | {"vocab_size": 260, "max_position_embeddings": 256} | changes
    return LoadedModel(
        model=decoder_of(peer_of(config, seed)),
        chat=ChatFormat(directory),
        checkpoint=Checkpoint(
            name=family, digest="sha256:" + "0" * 64, license="MIT", num_parameters=1, weight_bytes=4
        ),
        directory=directory,
    )
