"""Names of linear layers: peft's own table is a reference, and so are the modules of real models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from foreign_models import write_foreign

from spiritsafe.models.lora.adapters import add_lora, lora_state, num_trainable
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.transformers_backend.model import TransformersModel
from spiritsafe.models.transformers_backend.projections import (
    LORA_TARGETS,
    is_wanted,
    may_be_transposed,
    projections_of,
    targets_of,
)
from spiritsafe.models.transformers_backend.sizes import adapter_fault, num_adapted, read_model_config

NO_DECODERS = re.compile("t5|bart|blip|bert|electra|layoutlm|rwkv")


def test_what_peft_adapts_by_itself_is_known() -> None:
    constants = pytest.importorskip("peft.utils.constants", reason="peft is not installed")
    table = constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    families = {
        family: names for family, names in table.items() if not NO_DECODERS.search(family) and isinstance(names, list)
    }
    assert len(families) > 20
    for family, names in families.items():
        assert all(projections_of(f"model.layers.0.self_attn.{name}") for name in names), family


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("model.layers.3.self_attn.q_proj", ("q",)),
        ("model.layers.3.self_attn.qkv_proj", ("q", "k", "v")),
        ("transformer.h.0.attn.c_proj", ("o",)),
        ("transformer.h.0.mlp.c_proj", ("down",)),
        ("gpt_neox.layers.0.attention.dense", ("o",)),
        ("gpt_neox.layers.0.mlp.dense_h_to_4h", ("up",)),
        ("transformer.h.0.attn.attention.out_proj", ("o",)),
        ("model.layers.0.self_attn.kv_b_proj", ("k", "v")),
        ("model.layers.0.mlp.gate_up_proj", ("gate", "up")),
        ("model.layers.0.feed_forward.w3", ("up",)),
        ("model.layers.0.block_sparse_moe.experts.0.w3", ()),
        ("model.layers.0.mlp.gate", ()),  # a router
        ("model.layers.0.mixer.out_proj", ()),  # its kernel passes by the layer's forward
        ("model.layers.0.linear_attn.out_proj", ()),
        ("classifier.dense", ()),
        ("lm_head", ()),
    ],
)
def test_names_of_families(path: str, found: tuple[str, ...]) -> None:
    assert projections_of(path) == found
    assert is_wanted(path, LORA_TARGETS) == bool(found)
    assert targets_of([path]) == found


def test_a_fused_layer_is_wanted_whole() -> None:
    assert not is_wanted("self_attn.qkv_proj", ("q", "k"))
    assert is_wanted("self_attn.qkv_proj", ("q", "k", "v"))
    assert [may_be_transposed(path) for path in ("attn.c_attn", "mlp.c_fc", "mlp.gate_up_proj")] == [True, True, False]


@pytest.mark.parametrize("kind", ["gemma3_text", "phi3", "qwen3_moe", "gpt2", "gpt_neox", "mixtral"])
def test_adapters_are_counted_from_the_files_as_they_are(kind: str, tmp_path: Path) -> None:
    model = TransformersModel(write_foreign(tmp_path, kind), dtype=torch.float32, device="cpu")
    add_lora(model, LoraConfig(rank=3))
    config = read_model_config(tmp_path)
    assert num_adapted(config, 3, LORA_TARGETS) == num_trainable(model) > 0
    assert sum(tensor.numel() for tensor in lora_state(model).values()) == num_trainable(model)
    assert adapter_fault(config, LORA_TARGETS) == ""


def test_what_cannot_be_is_known_from_the_files(tmp_path: Path) -> None:
    phi = read_model_config(write_foreign(tmp_path / "phi3", "phi3"))
    assert "k, q, v in one matrix" in adapter_fault(phi, ("q", "v"))
    assert adapter_fault(phi, ("o", "down")) == ""
    mixture = read_model_config(write_foreign(tmp_path / "mixtral", "mixtral"))
    assert "known as gate, up, down" in adapter_fault(mixture, ("gate", "up", "down"))
    assert "known as" in adapter_fault({"model_type": "mamba"}, LORA_TARGETS)
