from __future__ import annotations

import gguf
import pytest
from architectures import FAMILY_NAMES, random_config
from gguf_models import PLAIN

from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.gguf.names import gguf_name, hf_name


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_names_are_those_of_the_gguf_librarys_own_map_and_lead_back(family: str) -> None:
    config = DecoderConfig.from_hf(random_config(family, 1) | {"rope_parameters": PLAIN, "tie_word_embeddings": False})
    names = [*config.outer_shapes(), *(f"model.layers.1.{name}" for name in config.layer_shapes())]
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3 if family == "qwen3" else gguf.MODEL_ARCH.LLAMA, 2)
    for name in names:
        assert gguf_name(name) == table.get_name(name, try_suffixes=(".weight", ".bias"))
        assert hf_name(str(gguf_name(name))) == name


@pytest.mark.parametrize("name", ["blk.0.ssm_in.weight", "blk.x.attn_q.weight", "output.bias", "rope_freqs.weight", ""])
def test_other_tensors_have_no_name(name: str) -> None:
    assert hf_name(name) is None
    assert gguf_name(name) is None
