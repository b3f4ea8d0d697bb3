from __future__ import annotations

import sys
from typing import Any

import pytest
from architectures import FAMILY_NAMES, random_config
from transformers import AutoConfig

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.decoder.config import DecoderConfig, unread_keys
from spiritsafe.models.decoder.module import Decoder


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("seed", range(7))
def test_round_trip(family: str, seed: int) -> None:
    config = DecoderConfig.from_hf(random_config(family, seed))
    assert DecoderConfig.from_hf(config.to_hf()) == config


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_key_left_out_means_what_transformers_means(family: str) -> None:
    sizes = {
        "vocab_size": 100,
        "hidden_size": 256,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 32,
    }
    ours = DecoderConfig.from_hf({"model_type": family, **sizes})
    theirs = DecoderConfig.from_hf(AutoConfig.for_model(family, **sizes).to_dict())
    assert ours.model_copy(update={"metadata": {}}) == theirs.model_copy(update={"metadata": {}})


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("seed", range(4))
def test_num_parameters(family: str, seed: int) -> None:
    config = DecoderConfig.from_hf(random_config(family, seed))
    model = Decoder(config, seed=None)
    assert config.num_parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"model_type": "mixtral"}, "mixtral"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"sliding_window": 8}, "sliding_window"),
        ({"rope_interleaved": True}, "rope_interleaved"),
        ({"sliding_window": 16}, "sliding_window"),
        ({"partial_rotary_factor": 0.5}, "partial rotary"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "layer_types"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ({"num_hidden_layers": None}, "num_hidden_layers"),
        ({"vocab_size": "many"}, "vocab_size"),
        ({"num_key_value_heads": 3}, "divide"),
        ({"rms_norm_eps": -1.0}, "rms_norm_eps"),
    ],
)
def test_what_is_not_implemented_is_refused(change: dict[str, Any], what: str) -> None:
    config = {
        "model_type": "llama",
        "vocab_size": 100,
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        **change,
    }
    with pytest.raises(CompatibilityError, match=what) as caught:
        DecoderConfig.from_hf(config)
    assert caught.value.hint


def test_windows() -> None:
    base = random_config("qwen2", 0) | {"num_hidden_layers": 3, "max_window_layers": 2, "sliding_window": 6}
    assert DecoderConfig.from_hf(base | {"use_sliding_window": True}).windows == (None, None, 6)
    assert DecoderConfig.from_hf(base | {"use_sliding_window": False}).windows == (None, None, None)
    mistral = random_config("mistral", 0) | {"num_hidden_layers": 2}
    assert DecoderConfig.from_hf(mistral | {"sliding_window": 5}).windows == (5, 5)
    assert DecoderConfig.from_hf(mistral | {"sliding_window": None}).windows == (None, None)
    del mistral["sliding_window"]
    assert DecoderConfig.from_hf(mistral).windows == (4096, 4096)


def test_old_readers_find_rope_where_they_look() -> None:
    config = random_config("llama", 4)
    written = DecoderConfig.from_hf(config).to_hf()
    assert written["rope_theta"] == config["rope_parameters"]["rope_theta"]
    assert written["rope_scaling"]["rope_type"] == "llama3"


PLAIN = {
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
LEFT_BEHIND = {
    "unsloth_fixed": True,
    "unsloth_version": "2025.3.1",
    "auto_map": {"AutoModel": "x"},
    "_commit_hash": "abc",
    "temperature": 0.7,
    "top_p": 0.9,
    "do_sample": False,
    "max_length": 20,
    "model_max_length": 8192,
    "num_labels": 2,
    "pad_token": "x",
    "tie_encoder_decoder": False,
    "pruned_heads": {},
    "use_sliding_window": False,
}


@pytest.mark.parametrize("key", LEFT_BEHIND)
def test_keys_that_trainers_leave_behind_change_nothing(key: str) -> None:
    config = PLAIN | {key: LEFT_BEHIND[key]}
    assert DecoderConfig.from_hf(config) == DecoderConfig.from_hf(PLAIN)
    assert unread_keys(config) == ()
    assert key not in DecoderConfig.from_hf(config).to_hf()


@pytest.mark.parametrize("key", ["my_note", "num_local_experts", "attention_multiplier", "trained_by"])
def test_a_key_that_nobody_reads_is_named_and_changes_nothing(key: str) -> None:
    assert unread_keys(PLAIN | {key: 8}) == (key,)
    assert DecoderConfig.from_hf(PLAIN | {key: 8}) == DecoderConfig.from_hf(PLAIN)


def test_a_key_that_nobody_reads_is_told_apart_by_family() -> None:
    granite = PLAIN | {"model_type": "granite"}
    assert DecoderConfig.from_hf(granite | {"attention_multiplier": 0.5}).attention_multiplier == 0.5
    assert unread_keys(granite | {"attention_multiplier": 0.5}) == ()


def test_hints_of_refusals_say_what_can_be_done() -> None:
    with pytest.raises(CompatibilityError) as caught:
        DecoderConfig.from_hf(PLAIN | {"model_type": "mixtral"})
    assert "fallback" not in caught.value.hint
    assert "by themselves" in caught.value.hint


def test_without_transformers_sources_every_unknown_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[DecoderConfig.__module__], "keys_read_by", lambda family: None)
    with pytest.raises(CompatibilityError, match="my_note"):
        DecoderConfig.from_hf(PLAIN | {"my_note": 1})
