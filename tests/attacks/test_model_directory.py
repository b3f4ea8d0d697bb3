"""Model directories that somebody published: what is beside their weights is not run, what they say is not believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from stranger_models import write_mixtral, write_stray_llama

from spiritsafe.core.errors import SourceError, SpiritsafeError
from spiritsafe.models import Decoder, TransformersModel, choose_code, load_model, read_model_config, resolve_source
from spiritsafe.models.transformers_backend.sizes import cached_numbers

OWN = {name: f"modeling_own.{name}" for name in ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoTokenizer")}


def with_code(directory: Path, marker: Path, **config: Any) -> Path:
    """Code that leaves a mark when it is run, named in the configuration."""
    code = (
        f"open({str(marker)!r}, 'w').close()\nclass AutoConfig: pass\nAutoModel = AutoModelForCausalLM = AutoConfig\n"
    )
    (directory / "modeling_own.py").write_text(code, "utf-8")
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "auto_map": OWN, **config}), "utf-8")
    return directory


def test_code_beside_the_weights_is_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    llama = with_code(write_stray_llama(tmp_path / "llama"), marker)
    mixtral = with_code(write_mixtral(tmp_path / "mixtral"), marker)
    own = with_code(write_mixtral(tmp_path / "own"), marker, model_type="own")
    for directory, kind in ((llama, Decoder), (mixtral, TransformersModel)):
        source = resolve_source(str(directory), cache=tmp_path / "cache")
        assert isinstance(load_model(source, dtype=torch.float32).model, kind)
    assert "modeling_own" in choose_code(llama).notes[0]
    source = resolve_source(str(own), cache=tmp_path / "cache")
    with pytest.raises(SourceError):
        load_model(source, dtype=torch.float32)
    with pytest.raises(SourceError):
        TransformersModel(own, dtype=torch.float32, device="cpu")
    assert not marker.exists()


NONSENSE: list[Any] = [None, True, -1, 0, 10**30, 1.5, "x", "", [], [1], {}, {"a": {"b": 1}}]


@pytest.mark.parametrize("family", ["mixtral", "llama"])
def test_nonsense_in_a_configuration_ends_in_a_sentence(family: str, tmp_path: Path) -> None:
    directory = write_mixtral(tmp_path) if family == "mixtral" else write_stray_llama(tmp_path)
    path = directory / "config.json"
    whole = json.loads(path.read_text("utf-8"))
    tried = [[], "x", 3, None]
    tried += [whole | {key: value} for key in whole for value in NONSENSE]
    tried += [
        whole | {key: value} for key in ("text_config", "ffn_config", "layer_types", "auto_map") for value in NONSENSE
    ]
    refused = 0
    for config in tried:
        path.write_text(json.dumps(config), "utf-8")
        try:
            choose_code(directory)
            cached_numbers(read_model_config(directory), 128)
        except SpiritsafeError:
            refused += 1
    assert len(tried) > refused > 10


def test_a_key_with_a_meaning_is_never_left_out(tmp_path: Path) -> None:
    meaningful = {
        "sliding_window": 4,
        "rope_parameters": {"rope_type": "longrope"},
        "quantization_config": {"quant_method": "fp8"},
        "hidden_act": "gelu",
        "partial_rotary_factor": 0.5,
        "layer_types": ["sliding_attention", "full_attention"],
    }
    for number, (key, value) in enumerate(meaningful.items()):
        directory = write_stray_llama(tmp_path / str(number), **{key: value})
        try:
            choice = choose_code(directory)
        except SpiritsafeError:
            continue
        assert choice.decoder is None, key
