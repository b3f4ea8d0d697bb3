from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_gguf import write_gguf
from transformers import AutoConfig, AutoModelForCausalLM

from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.models.checkpoints.tensors import iterate_tensors
from spiritsafe.models.decoder.rope import rope_frequencies
from spiritsafe.models.gguf.convert import convert_gguf, gguf_license, spdx_license
from spiritsafe.models.interface.batch import Document, pack_documents
from spiritsafe.models.transformers_backend.loading import load_decoder


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "granite"])
@pytest.mark.parametrize("tied", [True, False])
def test_weights_come_back_in_hugging_face_names_and_row_order(architecture: str, tied: bool, tmp_path: Path) -> None:
    extra = {"qwen3.attention.key_length": 16} if architecture == "qwen3" else {}
    weights = write_gguf(tmp_path / "x.gguf", architecture=architecture, tied=tied, kind="F32", extra=extra)
    out = tmp_path / "model"
    out.mkdir()
    convert_gguf(tmp_path / "x.gguf", out)
    found = dict(iterate_tensors(out))
    assert set(found) == set(weights)
    for name, tensor in weights.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "granite"])
def test_transformers_and_decoder_load_the_result_and_agree(architecture: str, tmp_path: Path) -> None:
    extra = {"qwen3.attention.key_length": 16} if architecture == "qwen3" else {}
    write_gguf(tmp_path / "x.gguf", architecture=architecture, kind="Q8_0", extra=extra)
    out = tmp_path / "model"
    out.mkdir()
    convert_gguf(tmp_path / "x.gguf", out)
    ids = torch.arange(5, 25)
    with torch.no_grad():
        reference = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()(ids[None]).logits[0]
        decoder = load_decoder(out, dtype=torch.float32)
        batch = pack_documents([Document(token_ids=tuple(ids.tolist()), supervised=(False,) * len(ids))])
        ours = decoder.logits(decoder(batch))
    assert torch.allclose(ours, reference, atol=1e-4)
    assert AutoConfig.from_pretrained(out).eos_token_id == 2
    config = json.loads((out / "config.json").read_text())
    assert config["rms_norm_eps"] == 1e-5
    assert config["rope_theta"] == 50000.0
    if architecture == "granite":
        assert config["logits_scaling"] == 4.0
        assert config["embedding_multiplier"] == 3.0


@pytest.mark.parametrize(
    ("what", "kwargs"),
    [
        ("'gemma'", {"architecture": "gemma"}),
        ("attention.sliding_window", {"extra": {"llama.attention.sliding_window": 128}}),
        ("expert_count", {"extra": {"llama.expert_count": 8}}),
        ("rope.scaling.type", {"extra": {"llama.rope.scaling.type": "yarn"}}),
        ("rope.dimension_count", {"extra": {"llama.rope.dimension_count": 8}}),
        ("'martian'", {"pre": "martian"}),
        ("'bert'", {"model": "bert"}),
    ],
)
def test_what_is_not_understood_is_refused_by_name(what: str, kwargs: dict[str, Any], tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf", **kwargs)
    with pytest.raises(CompatibilityError, match=what):
        convert_gguf(tmp_path / "x.gguf", tmp_path)


def test_a_missing_tensor_or_layer_is_named(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf", skip=("blk.1.ffn_down.weight",))
    with pytest.raises(SourceError, match=r"layers\.1\.mlp\.down_proj"):
        convert_gguf(tmp_path / "x.gguf", tmp_path)
    write_gguf(tmp_path / "y.gguf", skip=("blk.1.attn_q.weight",))
    with pytest.raises(SourceError, match="layer 1"):
        convert_gguf(tmp_path / "y.gguf", tmp_path)
    write_gguf(tmp_path / "z.gguf", skip=("token_embd.weight",))
    with pytest.raises(SourceError, match="embed_tokens"):
        convert_gguf(tmp_path / "z.gguf", tmp_path)


def test_licences(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf")
    assert gguf_license(tmp_path / "x.gguf") == "Apache-2.0"
    assert spdx_license("MIT") == "MIT"
    assert spdx_license("llama3.2 community") == "LicenseRef-llama3.2-community"
    assert spdx_license(None) == "LicenseRef-unknown"


def converters_factors(factor: float, *, base: float = 50_000.0, width: int = 16) -> np.ndarray:
    """What llama.cpp's ``convert_hf_to_gguf.py`` writes for Llama 3.1 and later, number by number."""
    out = []
    for channel in range(0, width, 2):
        wavelength = 2 * math.pi * base ** (channel / width)
        if wavelength < 8192 / 4:
            out.append(1.0)
        elif wavelength > 8192 / 1:
            out.append(factor)
        else:
            smooth = (8192 / wavelength - 1) / (4 - 1)
            out.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(out)


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_factors_of_llama_3_1_become_its_scaling(factor: float, tmp_path: Path) -> None:
    factors = converters_factors(factor)
    assert {1.0, factor} < set(factors.tolist())
    write_gguf(tmp_path / "x.gguf", rope_factors=factors)
    out = tmp_path / "model"
    out.mkdir()
    convert_gguf(tmp_path / "x.gguf", out)
    scaling = json.loads((out / "config.json").read_text())["rope_scaling"]
    assert scaling == {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    ids = torch.arange(5, 205)
    with torch.no_grad():
        reference = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()(ids[None]).logits[0]
        decoder = load_decoder(out, dtype=torch.float32)
        batch = pack_documents([Document(token_ids=tuple(ids.tolist()), supervised=(False,) * len(ids))])
        assert torch.allclose(decoder.logits(decoder(batch)), reference, atol=1e-4)
        frequencies, _ = rope_frequencies(decoder.config.rope, 16)
    plain = 1.0 / 50_000.0 ** (np.arange(0, 16, 2) / 16)
    assert np.allclose(frequencies.numpy(), plain / factors, rtol=1e-5)


def test_other_factors_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "model"
    out.mkdir()
    factors = converters_factors(8.0)
    for wrong in (factors * 1.01, factors[::-1].copy(), factors[:-1], np.full(8, -8.0)):
        write_gguf(tmp_path / "x.gguf", rope_factors=wrong)
        with pytest.raises(CompatibilityError, match=r"rope_freqs"):
            convert_gguf(tmp_path / "x.gguf", out)
