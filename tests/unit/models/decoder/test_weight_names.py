from __future__ import annotations

from pathlib import Path

import pytest
import torch
from architectures import FAMILY_NAMES, decoder_of, packed, peer_of, random_config
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from spiritsafe.core.errors import CompatibilityError, StorageError
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.module import Decoder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_names_and_bits_are_those_of_transformers(family: str, dtype: torch.dtype) -> None:
    peer = peer_of(random_config(family, 2)).to(dtype)
    expected = dict(peer.named_parameters())
    model = Decoder(DecoderConfig.from_hf(peer.config.to_dict()), dtype=dtype, seed=None)
    model.load_state_dict_hf(expected)
    found = model.hf_state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_transformers_loads_what_is_saved(family: str, seed: int, tmp_path: Path) -> None:
    model = decoder_of(peer_of(random_config(family, seed)))
    model.save_weights(tmp_path)
    peer = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    batch = packed((11,), model.vocab_size)
    theirs = peer(batch.token_ids_N[None]).logits[0]
    torch.testing.assert_close(model.logits(model(batch)), theirs, atol=1e-4, rtol=0)
    assert DecoderConfig.from_hf(peer.config.to_dict()).model_copy(update={"metadata": {}}) == model.config.model_copy(
        update={"metadata": {}}
    )


def test_the_file_says_pytorch_and_holds_no_second_head(tmp_path: Path) -> None:
    model = Decoder(DecoderConfig.from_hf(random_config("llama", 0) | {"tie_word_embeddings": True}))
    model.save_weights(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118  # not a dictionary
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_an_unwritable_directory_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    model = Decoder(DecoderConfig.from_hf(random_config("llama", 0)))
    with pytest.raises(StorageError):
        model.save_weights(tmp_path / "file")


def test_wrong_tensors_are_refused() -> None:
    model = Decoder(DecoderConfig.from_hf(random_config("llama", 0) | {"tie_word_embeddings": True}))
    good = {name: tensor.clone() for name, tensor in model.hf_state_dict().items()}
    lacking = {name: tensor for name, tensor in good.items() if name != "model.norm.weight"}
    with pytest.raises(CompatibilityError, match=r"lack tensor 'model.norm.weight'"):
        model.load_state_dict_hf(lacking)
    with pytest.raises(CompatibilityError, match="unknown tensor 'extra'"):
        model.load_state_dict_hf(good | {"extra": torch.ones(1)})
    with pytest.raises(CompatibilityError, match="shape"):
        model.load_state_dict_hf(good | {"model.norm.weight": torch.ones(3)})
    embedding = good["model.embed_tokens.weight"]
    with pytest.raises(CompatibilityError, match="different head"):
        model.load_state_dict_hf(good | {"lm_head.weight": embedding + 1})
    model.load_state_dict_hf(
        good | {"lm_head.weight": embedding, "model.layers.0.self_attn.rotary_emb.inv_freq": embedding}
    )
