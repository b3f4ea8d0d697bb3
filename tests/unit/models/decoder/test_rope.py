from __future__ import annotations

from typing import Any

import pytest
import torch
from architectures import ROPES
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.decoder.rope import RopeConfig, RopeTable, rope_frequencies, rotate


def peer_embedding(parameters: dict[str, Any]) -> LlamaRotaryEmbedding:
    config = LlamaConfig(
        hidden_size=64, num_attention_heads=4, max_position_embeddings=128, rope_parameters=dict(parameters)
    )
    return LlamaRotaryEmbedding(config)


@pytest.mark.parametrize("parameters", ROPES, ids=lambda p: p["rope_type"])
def test_frequencies_equal_transformers_to_the_bit(parameters: dict[str, Any]) -> None:
    rope = RopeConfig.from_hf({"rope_parameters": parameters, "max_position_embeddings": 128})
    frequencies, scaling = rope_frequencies(rope, 16)
    peer = peer_embedding(parameters)
    assert torch.equal(frequencies, peer.inv_freq)
    assert scaling == peer.attention_scaling


@pytest.mark.parametrize("parameters", ROPES, ids=lambda p: p["rope_type"])
def test_rotation_equals_transformers(parameters: dict[str, Any]) -> None:
    rope = RopeConfig.from_hf({"rope_parameters": parameters, "max_position_embeddings": 128})
    cos, sin = RopeTable(rope, 16).table(40, device=torch.device("cpu"), dtype=torch.float32)
    positions = torch.tensor([0, 1, 7, 39])
    heads = torch.randn(4, 3, 16, generator=torch.Generator().manual_seed(0))
    peer_cos, peer_sin = peer_embedding(parameters)(heads, positions[None])
    theirs, _ = apply_rotary_pos_emb(heads[None].transpose(1, 2), heads[None].transpose(1, 2), peer_cos, peer_sin)
    assert torch.equal(rotate(heads, cos[positions], sin[positions]), theirs.transpose(1, 2)[0])


def test_both_spellings_mean_the_same() -> None:
    new = {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0}}
    old = {"rope_theta": 5000.0, "rope_scaling": {"type": "linear", "factor": 2.0}}
    assert RopeConfig.from_hf(new) == RopeConfig.from_hf(old)
    assert RopeConfig.from_hf({}) == RopeConfig()


def test_original_context_defaults_to_the_models() -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0}
    rope = RopeConfig.from_hf({"rope_scaling": scaling, "max_position_embeddings": 512})
    assert rope.original_max_position_embeddings == 512


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"rope_parameters": {"rope_type": "longrope", "short_factor": [1.0]}}, "longrope"),
        ({"rope_parameters": {"rope_type": "linear"}}, "factor"),
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "mystery": 1}}, "mystery"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "layer to layer"),
        ({"rope_theta": 1.0, "rope_parameters": {"rope_type": "default", "rope_theta": 2.0}}, "two different"),
    ],
)
def test_what_is_not_implemented_is_refused(config: dict[str, Any], what: str) -> None:
    with pytest.raises(CompatibilityError, match=what):
        RopeConfig.from_hf(config)


def test_table_grows_and_keeps_its_values() -> None:
    table = RopeTable(RopeConfig(), 8)
    cpu = torch.device("cpu")
    with torch.inference_mode():
        short, _ = table.table(10, device=cpu, dtype=torch.float32)
    long, _ = table.table(1000, device=cpu, dtype=torch.float32)
    assert long.shape[0] >= 1000
    assert torch.equal(long[: short.shape[0]], short)
    assert not short.is_inference()
