from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from tiny_gguf import write_gguf

from spiritsafe.core.errors import BudgetError, CompatibilityError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models.checkpoints.tensors import read_tensor_table
from spiritsafe.models.cost.footprint import (
    held_bytes,
    kv_cache_bytes,
    layers_within,
    measure_bytes,
    predict_footprint,
    shallower,
    tensor_shapes,
    weight_bytes,
)
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.sources.resolve import resolve_source

SMOLLM2: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
# Llama 3.2 1B's shape: rows are whole blocks of 256, so that k-quants apply.
WIDE = SMOLLM2 | {
    "vocab_size": 128256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "granite"])
def test_safetensors_are_predicted_to_the_byte(family: str, dtype: str, tmp_path: Path) -> None:
    config = {
        "model_type": family,
        "vocab_size": 100,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 64,
        "tie_word_embeddings": family == "granite",
        **({"attention_bias": True, "mlp_bias": True} if family == "llama" else {}),
    }
    model = Decoder(DecoderConfig.from_hf(config), dtype=torch.float32 if dtype == "fp32" else torch.bfloat16)
    model.save_weights(tmp_path)
    assert {name: info.shape for name, info in read_tensor_table(tmp_path).items()} == tensor_shapes(config)
    predicted = predict_footprint(config, dtype).weight_bytes  # type: ignore[arg-type]
    assert predicted == measure_bytes(tmp_path)
    assert abs((tmp_path / "model.safetensors").stat().st_size - predicted) < 0.1 * predicted  # header of a tiny file


def test_smollm2_as_q4_1_is_what_llama_cpp_wrote() -> None:
    # The published file holds 66,355,200 bytes of Q4_1, 30,081,024 of Q8_0 (embedding and head: 576 is no multiple
    # of 256, so Q6_K fell back) and 140,544 of F32.
    assert weight_bytes(SMOLLM2, "q4_1") == 66_355_200 + 30_081_024 + 140_544


@pytest.mark.parametrize(("quantisation", "kind"), [("q8_0", "Q8_0"), ("f16", "F16")])
def test_gguf_bytes_are_predicted_for_a_file_of_one_kind(quantisation: Any, kind: str, tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf", kind=kind)
    real = sum(int(tensor.n_bytes) for tensor in gguf.GGUFReader(tmp_path / "x.gguf").tensors)
    config = read_json(resolve_source(f"gguf:{tmp_path / 'x.gguf'}", cache=tmp_path / "c") / "config.json")
    assert weight_bytes(config, quantisation) == real


def test_q4_k_m_gives_more_bits_to_some_layers() -> None:
    block = 2048 * 2048
    attention = 2 * block + block // 4  # q, o and k
    value, down, mlp = block // 4, 2048 * 8192, 2 * 2048 * 8192
    q4, q6 = 144 / 256, 210 / 256
    better = sum(i < 2 or i >= 14 or (i - 2) % 3 == 2 for i in range(16))
    assert better == 8
    expected = 16 * (attention + mlp) * q4 + (value + down) * (better * q6 + (16 - better) * q4)
    expected += 128256 * 2048 * q6 + 4 * 2048 * 33
    assert weight_bytes(WIDE, "q4_k_m") == int(expected)
    # Published Llama-3.2-1B-Instruct-Q4_K_M.gguf: 807,694,464 bytes with about 7.8 MB of tokenizer.
    assert weight_bytes(WIDE, "q4_k_m") == pytest.approx(807_694_464, rel=0.015)


def test_quantisations_are_ordered_and_untied_embeddings_are_coarser() -> None:
    sizes = [weight_bytes(WIDE, q) for q in ("q4_0", "q4_1", "q8_0", "f16", "fp32")]  # type: ignore[arg-type]
    assert sizes == sorted(sizes)
    assert weight_bytes(WIDE, "bf16") * 2 == sizes[-1]
    untied = WIDE | {"tie_word_embeddings": False}
    assert weight_bytes(untied, "q4_0") - sizes[0] == 128256 * 2048 * 18 // 32


def test_the_cache_counts_two_vectors_a_token_layer_and_head() -> None:
    assert kv_cache_bytes(SMOLLM2, context=1024, num_sequences=2, kv_dtype="bf16") == 2 * 1024 * 30 * 3 * 64 * 2 * 2
    windowed = WIDE | {"model_type": "mistral", "sliding_window": 256}
    assert kv_cache_bytes(windowed, context=1024, num_sequences=1, kv_dtype="f16") == 2 * 256 * 16 * 8 * 64 * 2
    whole = kv_cache_bytes(windowed, context=1024, num_sequences=1, kv_dtype="f16", windowed=False)
    assert whole == 2 * 1024 * 16 * 8 * 64 * 2
    with pytest.raises(CompatibilityError, match="int3"):
        kv_cache_bytes(SMOLLM2, context=1, num_sequences=1, kv_dtype="int3")


def test_layers_within_a_budget_are_the_most_that_fit() -> None:
    budget = int(0.8 * predict_footprint(SMOLLM2, "bf16").weight_bytes)
    layers = layers_within(SMOLLM2, budget, "bf16")
    assert predict_footprint(shallower(SMOLLM2, range(layers)), "bf16").weight_bytes <= budget
    assert predict_footprint(shallower(SMOLLM2, range(layers + 1)), "bf16").weight_bytes > budget
    assert layers_within(SMOLLM2, budget, "bf16", context=8192) < layers
    assert layers_within(SMOLLM2, 10**12, "bf16") == 30
    with pytest.raises(BudgetError, match="One layer alone"):
        layers_within(SMOLLM2, 10**6, "bf16")


def test_shallower_configurations_keep_each_layers_own_kind() -> None:
    config = WIDE | {
        "model_type": "qwen2",
        "num_hidden_layers": 4,
        "use_sliding_window": True,
        "sliding_window": 32,
        "max_window_layers": 2,
        "layer_types": ["full_attention", "full_attention", "sliding_attention", "sliding_attention"],
    }
    cut = shallower(config, [1, 3])
    assert cut["layer_types"] == ["full_attention", "sliding_attention"]
    assert (cut["num_hidden_layers"], cut["max_window_layers"]) == (2, 1)
    assert DecoderConfig.from_hf(cut).windows == (None, 32)
    assert config["num_hidden_layers"] == 4


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("weights", ["4bit", "8bit", None])
def test_held_bytes_are_those_that_a_loaded_model_takes(dtype: str, weights: str | None) -> None:
    config = {**SMOLLM2, "num_hidden_layers": 2, "hidden_size": 90, "intermediate_size": 77, "vocab_size": 64}
    made = Decoder(
        DecoderConfig.from_hf(config),
        dtype=torch.float32 if dtype == "fp32" else torch.bfloat16,
        seed=None,
        weights=weights,  # type: ignore[arg-type]  # of a list of names
    )
    tensors = [*made.parameters(), *made.buffers()]
    assert held_bytes(config, dtype, weights) == sum(tensor.nbytes for tensor in tensors)  # type: ignore[arg-type]


def test_four_bits_are_four_and_a_half() -> None:
    outer = 49152 * 576 + 61 * 576
    inner = 134_515_008 - outer
    assert held_bytes(SMOLLM2, "bf16", "4bit") == 2 * outer + inner * 4.5 / 8
    assert held_bytes(SMOLLM2, "bf16", "8bit") == 2 * outer + inner * 8.5 / 8
