from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import gguf
import numpy as np
import pytest
from gguf_models import LLAMA3, model
from llama_cpp import llama_plans, llama_quantise, needs_llama_cpp

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models.cost.footprint import weight_bytes
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.gguf.types import (
    FILE_TYPES,
    FileTypeName,
    file_bytes,
    file_shapes,
    find_file_type,
    mixture_types,
    stored_bytes,
    tensor_types,
)
from spiritsafe.models.gguf.write import write_gguf

# Shapes in which llama.cpp's rules differ: blocks that fit and rows that do not, tied and not, biases, query heads that
# share a key head, layers enough for each of their places, and the 80 layers by which it knows a model of 70 billion.
SHAPES: dict[str, dict[str, Any]] = {
    "untied, blocks fit": {"num_key_value_heads": 4, "num_hidden_layers": 9},
    "tied, width 576": {
        "hidden_size": 576, "intermediate_size": 768, "num_attention_heads": 9, "num_key_value_heads": 3,
        "tie_word_embeddings": True,
    },
    "biases": {"family": "qwen2", "num_key_value_heads": 1, "num_hidden_layers": 3, "intermediate_size": 288},
    "shared keys": {"num_hidden_layers": 17, "num_attention_heads": 8, "head_dim": 32, "rope_parameters": LLAMA3},
    "no whole blocks": {"hidden_size": 40, "head_dim": 10, "intermediate_size": 80},
    "80 layers": {"num_hidden_layers": 80, "hidden_size": 32, "head_dim": 8, "intermediate_size": 32},
}  # fmt: skip

OF_70B = ("q2_k", "q3_k_s", "q3_k_m", "q4_k_s", "q4_k_m", "iq3_m", "iq2_xs")


def toy(directory: Path, what: str, **changes: Any) -> DecoderConfig:
    sizes = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "head_dim": 64, "tie_word_embeddings": False, **SHAPES[what], **changes}
    model(directory, sizes.pop("family", "llama"), **sizes)
    return DecoderConfig.from_hf(read_json(directory / "config.json"))


def importance_of(config: DecoderConfig, path: Path) -> Path:
    shapes = {name: shape for name, shape in file_shapes(config).items() if len(shape) == 2}
    np.savez(path, **{name: np.linspace(0.5, 2.0, shape[-1], dtype=np.float32) for name, shape in shapes.items()})
    return path


@needs_llama_cpp
@pytest.mark.parametrize("what", list(SHAPES))
def test_every_tensor_gets_the_type_that_llama_cpp_gives_it(what: str, tmp_path: Path) -> None:
    config = toy(tmp_path / "x", what)
    write_gguf(tmp_path / "x", tmp_path / "x.gguf", "f32")
    importance = importance_of(config, tmp_path / "importance.npz")
    asked = [
        (one, given)
        for one in FILE_TYPES.values()
        for given in (False, True)
        if (given or not one.needs_importance) and (what != "80 layers" or one.name in OF_70B)
    ]
    plans = llama_plans(tmp_path / "x.gguf", [(one.number, importance if given else None) for one, given in asked])
    for (one, given), plan in zip(asked, plans, strict=True):
        types = tensor_types(file_shapes(config), one, architecture=str(config.architecture.gguf), importance=given)
        assert {name: kind.name.lower() for name, kind in types.items()} == plan, (one.name, given)


@needs_llama_cpp
@pytest.mark.parametrize("what", ["untied, blocks fit", "biases"])
def test_bytes_of_what_llama_cpp_wrote_are_predicted(what: str, tmp_path: Path) -> None:
    config = toy(tmp_path / "x", what, num_hidden_layers=3)
    write_gguf(tmp_path / "x", tmp_path / "x.gguf", "f32")
    given = importance_of(config, tmp_path / "importance.npz")
    for name, importance in (("q2_k", given), ("q3_k_l", None), ("q4_k_m", given), ("q6_k", None), ("q4_0", given)):
        assert llama_quantise(tmp_path / "x.gguf", tmp_path / "y.gguf", FILE_TYPES[name].number, importance=importance)
        real = sum(int(tensor.n_bytes) for tensor in gguf.GGUFReader(tmp_path / "y.gguf").tensors)
        assert file_bytes(config, FILE_TYPES[name], importance=importance is not None) == real
        predicted = weight_bytes(config.to_hf(), name, importance=importance is not None)  # type: ignore[arg-type]
        assert predicted == real


@pytest.mark.parametrize("what", [what for what in SHAPES if what != "80 layers"])
def test_bytes_of_what_is_written_here_are_predicted(what: str, tmp_path: Path) -> None:
    config = toy(tmp_path / "x", what, num_hidden_layers=2)
    for one in FILE_TYPES.values():
        if one.is_written_here:
            facts = write_gguf(tmp_path / "x", tmp_path / "x.gguf", one.name)
            real = sum(int(tensor.n_bytes) for tensor in gguf.GGUFReader(tmp_path / "x.gguf").tensors)
            assert file_bytes(config, one) == real == facts.tensor_bytes


def test_the_table_is_that_of_ggufs_own_numbers() -> None:
    assert set(FILE_TYPES) == set(get_args(FileTypeName))
    for name, one in FILE_TYPES.items():
        assert gguf.LlamaFileType(one.number).name in (f"MOSTLY_{name.upper()}", f"ALL_{name.upper()}")
        assert find_file_type(name.upper()) is one
    with pytest.raises(CompatibilityError, match="'q4_k_x'"):
        find_file_type("q4_k_x")
    assert stored_bytes((3, 256), gguf.GGMLQuantizationType.Q6_K) == 3 * 210


def test_a_mixture_names_what_it_has_with_and_without_importance_but_for_the_head() -> None:
    shapes = {"token_embd.weight": (9, 32), "output_norm.weight": (32,)}
    shapes |= {f"blk.{layer}.ffn_down.weight": (32, 32) for layer in range(8)}
    kinds = mixture_types(shapes, FILE_TYPES["q4_0"], architecture="llama")
    assert "token_embd.weight" not in kinds
    assert {kind.name for kind in kinds["blk.0.ffn_down.weight"]} == {"Q4_0", "Q4_1"}
    assert {kind.name for kind in kinds["blk.1.ffn_down.weight"]} == {"Q4_0"}
