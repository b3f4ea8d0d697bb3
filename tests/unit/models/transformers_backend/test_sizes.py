from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from stranger_models import write_mixtral, write_stray_llama
from transformers import AutoConfig, AutoModelForCausalLM, Cache

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.checkpoints.tensors import TensorInfo
from spiritsafe.models.transformers_backend.sizes import (
    cached_numbers,
    count_parameters,
    decoder_config,
    measure_size,
    read_model_config,
    size_of,
)


def table_of(shapes: dict[str, tuple[int, ...]]) -> dict[str, TensorInfo]:
    return {
        name: TensorInfo(dtype="BF16", shape=shape, num_bytes=2 * math.prod(shape), file="model.safetensors")
        for name, shape in shapes.items()
    }


def shapes_of(config: Any) -> dict[str, tuple[int, ...]]:
    """Tensors of transformers' own model of these sizes; no weight is made."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}


def one_by_one(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The same with a tensor for each expert, as published files hold them."""
    out = {}
    for name, shape in shapes.items():
        if ".experts." in name and len(shape) == 3:
            out |= {name.replace(".experts.", f".experts.{i}."): shape[1:] for i in range(shape[0])}
        else:
            out[name] = shape
    return out


@pytest.mark.parametrize("layout", [dict, one_by_one])
@pytest.mark.parametrize(
    ("config", "total", "active"),
    [
        # arXiv 2401.04088: 47B and 13B; 46.7B and 12.9B in the announcement
        (
            {
                "model_type": "mixtral",
                "vocab_size": 32000,
                "hidden_size": 4096,
                "intermediate_size": 14336,
                "num_hidden_layers": 32,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "num_local_experts": 8,
                "num_experts_per_tok": 2,
            },
            46.7e9,
            12.9e9,
        ),
        # arXiv 2412.19437: 671B and 37B; transformers' defaults are that model's sizes
        ({"model_type": "deepseek_v3"}, 671e9, 37e9),
    ],
)
def test_active_parameters_are_the_published_ones(layout: Any, config: Any, total: float, active: float) -> None:
    full = AutoConfig.for_model(**config)
    size = count_parameters(full.to_dict(), table_of(layout(shapes_of(full))))
    assert size.num_parameters == pytest.approx(total, rel=0.005)
    assert size.num_active == pytest.approx(active, rel=0.02)


def test_a_dense_model_is_active_whole(tiny_directory: Path) -> None:
    size = measure_size(tiny_directory)
    assert size.num_active == size.num_parameters == size_of(read_model_config(tiny_directory)).num_active


def test_active_parameters_are_counted_by_hand(tmp_path: Path) -> None:
    config = read_model_config(write_mixtral(tmp_path))
    hidden, inner, layers, experts, chosen = 64, 96, 2, 4, 2
    size = size_of(config)
    assert size == measure_size(tmp_path)
    assert size.num_parameters - size.num_active == layers * (experts - chosen) * 3 * hidden * inner


def test_layers_beyond_the_configurations_are_not_run() -> None:
    shapes = {"model.layers.0.w": (10, 10), "model.layers.1.w": (10, 10), "model.layers.2.w": (50, 10)}
    size = count_parameters({"num_hidden_layers": 2}, table_of(shapes))
    assert (size.num_parameters, size.num_active) == (700, 200)


def test_only_models_that_transformers_runs_are_measured(tmp_path: Path) -> None:
    stray = read_model_config(write_stray_llama(tmp_path / "stray", my_note="mine"))
    assert decoder_config(stray) is not None
    assert set(stray) - set(stray.keys() & {"my_note"}) == set(read_model_config(tmp_path / "stray")) - {"my_note"}
    with pytest.raises(CompatibilityError, match="mixtral"):
        size_of({"model_type": "mixtral"})


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "mixtral", "num_key_value_heads": 2, "num_local_experts": 2},
        {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4},
        {
            "model_type": "qwen3_moe",
            "num_key_value_heads": 2,
            "head_dim": 16,
            "num_experts": 2,
            "num_experts_per_tok": 2,
        },
        {
            "model_type": "deepseek_v3",
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "n_group": 2,
            "topk_group": 1,
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 16,
            "first_k_dense_replace": 1,
            "num_key_value_heads": 4,
        },
    ],
)
def test_the_estimate_of_the_cache_is_what_transformers_keeps(config: dict[str, Any]) -> None:
    sizes = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    full = AutoConfig.for_model(**{**sizes, "num_attention_heads": 4, "pad_token_id": 0, **config})
    model = AutoModelForCausalLM.from_config(full).eval()
    with torch.no_grad():
        found = model(torch.arange(1, 8)[None], use_cache=True).values()
    cache = next(value for value in found if isinstance(value, Cache))
    kept = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert cached_numbers(full.to_dict(), 7) == kept


def test_windows_bound_the_cache_and_unknown_models_have_none() -> None:
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 1, "hidden_size": 32}
    assert cached_numbers(heads, 100) == 2 * 2 * 8 * 100
    mixed = heads | {"sliding_window": 10, "layer_types": ["sliding_attention", "full_attention"]}
    assert cached_numbers(mixed, 100) == 2 * 8 * (100 + 10)
    assert cached_numbers({"text_config": heads}, 100) == cached_numbers(heads, 100)
    assert cached_numbers({"model_type": "mamba2"}, 100) == 0
