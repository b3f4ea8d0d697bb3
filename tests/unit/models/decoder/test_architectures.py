from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import FAMILY_NAMES, decoder_of, packed, peer_of, random_config
from cut_parts import documents
from safetensors.torch import load_file
from tiny_gguf import write_gguf

from spiritsafe.models.checkpoints.directory import write_lineage
from spiritsafe.models.checkpoints.tensors import read_tensor_table
from spiritsafe.models.cost.footprint import tensor_shapes
from spiritsafe.models.cost.training_memory import predict_training
from spiritsafe.models.decoder.architectures import ARCHITECTURES, DECODER_HINT, LAYER_TENSORS, Architecture
from spiritsafe.models.decoder.config import DecoderConfig, unread_keys
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.gguf.convert import convert_gguf
from spiritsafe.models.lora.adapters import add_lora, lora_state
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.lora.decoder_adapters import lora_shapes
from spiritsafe.models.pruning.cut import StudentShape, cut
from spiritsafe.models.pruning.importance import calibrate
from spiritsafe.models.sources.tiny import write_tiny
from spiritsafe.models.transformers_backend.loading import load_decoder
from spiritsafe.models.transformers_backend.projections import LORA_TARGETS


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A ``config.json`` of an architecture that one row made known: norms of queries and keys, and no other extra."""
    row = Architecture(
        title="Stranger", class_name="StrangerForCausalLM", defaults={"head_dim": 16}, qk_norm=True, gguf="strange"
    )
    monkeypatch.setitem(ARCHITECTURES, "stranger", row)
    config = {**random_config("qwen3", 1), "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    windows = ("use_sliding_window", "max_window_layers", "sliding_window", "attention_bias")
    return {key: value for key, value in config.items() if key not in windows} | {"model_type": "stranger"}


def test_a_strangers_logits_are_those_of_the_model_whose_pieces_it_has(stranger: dict[str, Any]) -> None:
    same = {**stranger, "model_type": "qwen3", "use_sliding_window": False, "attention_bias": False}
    twin = decoder_of(peer_of(same))
    decoder = Decoder(DecoderConfig.from_hf(stranger), seed=None)
    decoder.load_state_dict_hf(twin.hf_state_dict())
    batch = packed((5, 9), stranger["vocab_size"])
    with torch.no_grad():
        assert torch.equal(decoder.logits(decoder(batch)), twin.logits(twin(batch)))
    memory = predict_training(stranger, num_tokens=64)
    assert memory == predict_training(same, num_tokens=64)


def test_a_stranger_is_written_counted_cut_and_adapted(stranger: dict[str, Any], tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_tiny(source, seed=1)  # its tokenizer
    config = DecoderConfig.from_hf(stranger | {"vocab_size": 260, "max_position_embeddings": 256})
    decoder = Decoder(config, seed=3)
    decoder.save_weights(source)
    write_lineage(source, name="stranger", license="MIT")
    stored = {name: info.shape for name, info in read_tensor_table(source).items()}
    assert stored == tensor_shapes(config.to_hf())
    assert config.num_parameters == sum(parameter.numel() for parameter in decoder.parameters())
    shape = StudentShape.of_decoder(config).model_copy(update={"intermediate_size": 32, "num_kv_heads": 1})
    cut(
        source, tmp_path / "student", shape, calibrate(load_decoder(source, dtype=torch.float32), documents()), name="s"
    )
    student = load_decoder(tmp_path / "student", dtype=torch.float32)
    assert student.config.to_hf()["architectures"] == ["StrangerForCausalLM"]
    assert "model.layers.0.self_attn.q_norm.weight" in load_file(tmp_path / "student" / "model.safetensors")
    add_lora(student, LoraConfig(rank=2))
    assert lora_shapes(student.config, LoraConfig(rank=2)) == {
        k: tuple(t.shape) for k, t in lora_state(student).items()
    }


def test_a_strangers_gguf_file_is_converted(
    stranger: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Architecture(title="Stranger", class_name="StrangerForCausalLM", gguf="strange")
    monkeypatch.setitem(ARCHITECTURES, "stranger", plain)
    weights = write_gguf(tmp_path / "x.gguf", architecture="strange", kind="F32")
    out = tmp_path / "out"
    out.mkdir()
    convert_gguf(tmp_path / "x.gguf", out)
    found = load_decoder(out, dtype=torch.float32)
    assert found.config.family == "stranger"
    assert all(torch.equal(found.hf_state_dict()[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_the_table_names_the_tensors_that_transformers_stores(family: str, seed: int) -> None:
    config = random_config(family, seed)
    theirs = {name: tuple(tensor.shape) for name, tensor in peer_of(config).state_dict().items()}
    if config["tie_word_embeddings"]:
        del theirs["lm_head.weight"]
    assert tensor_shapes(config) == theirs
    assert type(peer_of(config)).__name__ == ARCHITECTURES[family].class_name


def test_every_architecture_is_tested_named_and_each_target_is_one_projection() -> None:
    assert set(FAMILY_NAMES) == set(ARCHITECTURES)
    assert all(architecture.title in DECODER_HINT for architecture in ARCHITECTURES.values())
    matrices = [tensor.name.rpartition(".")[2] for tensor in LAYER_TENSORS if tensor.columns]
    assert matrices == [f"{target}_proj" for target in LORA_TARGETS]


@pytest.mark.parametrize(
    ("family", "key", "value"),
    [
        ("llama", "embedding_multiplier", 12.0),
        ("llama", "logits_scaling", 8.0),
        ("mistral", "mlp_bias", True),
        ("qwen2", "mlp_bias", True),
    ],
)
def test_a_key_of_another_family_that_is_told_as_left_out_is_left_out(family: str, key: str, value: object) -> None:
    config = random_config(family, 0)
    assert unread_keys({**config, key: value}) == (key,)
    assert DecoderConfig.from_hf({**config, key: value}) == DecoderConfig.from_hf(config)
