from __future__ import annotations

from pathlib import Path

import pytest
from gguf_models import model
from llama_cpp import llama_quantise, needs_llama_cpp
from tiny_gguf import gguf_name, hf_weights
from tiny_gguf import write_gguf as write_foreign

from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.models.gguf.facts import FileFacts, check_file_name, file_facts, true_name
from spiritsafe.models.gguf.types import FILE_TYPES
from spiritsafe.models.gguf.write import write_gguf

FITS = {
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
}


def facts(file_type: str, substituted: float = 0.0) -> FileFacts:
    return FileFacts(
        file_type=file_type, types=(), bits_per_weight=5.0, substituted_share=substituted, num_parameters=1,
        tensor_bytes=1, file_bytes=1,
    )  # fmt: skip


def test_types_and_bits_are_those_of_the_tensors(tmp_path: Path) -> None:
    model(tmp_path / "x", num_hidden_layers=2, tie_word_embeddings=False, attention_bias=False, mlp_bias=False, **FITS)
    found = write_gguf(tmp_path / "x", tmp_path / "x.gguf", "q4_0")
    shares = {one.type: (one.num_tensors, one.num_bytes) for one in found.types}
    layer = 256 * (256 + 128 + 128 + 256 + 3 * 256)
    norms = 5 * 256
    assert shares == {
        "q4_0": (15, (2 * layer + 260 * 256) * 18 // 32),
        "q6_k": (1, 260 * 256 * 210 // 256),
        "f32": (5, norms * 4),
    }
    assert found.num_parameters == 2 * layer + 2 * 260 * 256 + norms
    assert found.bits_per_weight == 8 * found.tensor_bytes / found.num_parameters
    assert (found.file_type, found.substituted_share) == ("q4_0", 0.0)


@needs_llama_cpp
def test_a_file_whose_rows_do_not_fit_is_found_out(tmp_path: Path) -> None:
    model(tmp_path / "x", **FITS | {"hidden_size": 288, "tie_word_embeddings": True})
    write_gguf(tmp_path / "x", tmp_path / "x.gguf", "f32")
    number = FILE_TYPES["q4_k_m"].number
    assert llama_quantise(tmp_path / "x.gguf", tmp_path / "toy-Q4_K_M.gguf", number)
    found = file_facts(tmp_path / "toy-Q4_K_M.gguf")
    assert found.file_type == "q4_k_m"
    # all but the matrices that read attention heads or neurons, which are 256 wide, and the head
    assert 0.3 < found.substituted_share < 0.9
    with pytest.raises(CompatibilityError, match=r"fell back") as caught:
        check_file_name(found, "toy-Q4_K_M.gguf")
    assert "toy-Q4_K_M.fallback.gguf" in str(caught.value.hint)
    check_file_name(found, "toy-Q4_K_M.fallback.gguf")
    model(tmp_path / "y", **FITS)
    write_gguf(tmp_path / "y", tmp_path / "y.gguf", "f32")
    assert llama_quantise(tmp_path / "y.gguf", tmp_path / "whole.gguf", number)
    assert file_facts(tmp_path / "whole.gguf").substituted_share == 0.0


def test_names_that_lie_are_refused_with_one_that_is_true() -> None:
    check_file_name(facts("q4_k_m", 0.05), "student-Q4_K_M.gguf")
    check_file_name(facts("q4_k_m", 0.9), "student.gguf")  # it claims nothing
    check_file_name(facts("q8_0"), "q4-student-q8_0.gguf")
    for file_type, name, honest in (
        ("q8_0", "student-Q4_0.gguf", "student-Q8_0.gguf"),
        ("q4_k_s", "student.q4_k_m.gguf", "student-Q4_K_S.gguf"),
        ("q4_k_m", "Q4_0.gguf", "model-Q4_K_M.gguf"),
        ("bf16", "student-F16.gguf", "student-BF16.gguf"),
    ):
        with pytest.raises(CompatibilityError) as caught:
            check_file_name(facts(file_type), name)
        assert honest in str(caught.value.hint)
    assert true_name(facts("q6_k", 0.98), "a") == "a-Q6_K.fallback.gguf"
    assert true_name(facts("q6_k", 0.1), "a") == "a-Q6_K.gguf"


def test_files_of_others_and_damaged_ones(tmp_path: Path) -> None:
    write_foreign(tmp_path / "none.gguf")
    with pytest.raises(SourceError, match=r"general\.file_type"):
        file_facts(tmp_path / "none.gguf")
    write_foreign(tmp_path / "odd.gguf", extra={"general.file_type": 39})
    with pytest.raises(CompatibilityError, match="39"):
        file_facts(tmp_path / "odd.gguf")
    write_foreign(tmp_path / "f32.gguf", kind="F32", extra={"general.file_type": 7})
    assert file_facts(tmp_path / "f32.gguf").substituted_share > 0.5  # it says Q8_0 and is none
    (tmp_path / "cut.gguf").write_bytes((tmp_path / "f32.gguf").read_bytes()[:-100])
    with pytest.raises(SourceError, match="needs"):
        file_facts(tmp_path / "cut.gguf")


def test_a_vocabulary_alone_is_no_model(tmp_path: Path) -> None:
    """llama.cpp's repository has such files beside its tests."""
    names = tuple(gguf_name(name) for name in hf_weights("llama", tied=True))
    write_foreign(tmp_path / "vocab.gguf", extra={"general.file_type": 1}, skip=names)
    with pytest.raises(SourceError, match="holds no matrix"):
        file_facts(tmp_path / "vocab.gguf")
