from __future__ import annotations

import re
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from architectures import decoder_of, peer_of, random_config, random_documents
from tiny_gguf import write_gguf
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from spiritsafe.core.errors import CompatibilityError, NumericalError, SourceError
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import Document
from spiritsafe.models.llama_cpp.importance import ImportanceMatrix, measure_importance
from spiritsafe.models.transformers_backend.model import TransformersModel

LENGTHS = (7, 30, 1, 12, 19)


def reference(peer: PreTrainedModel, documents: list[Document]) -> dict[str, np.ndarray]:
    """Brute force: transformers' own layers, one document at a time, named by the gguf library's table."""
    config = peer.config
    names = gguf.get_tensor_name_map(
        {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}[
            "llama" if config.model_type == "mistral" else config.model_type
        ],
        config.num_hidden_layers,
    )
    seen: dict[str, np.ndarray] = {}

    def watch(name: str) -> None:
        def see(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            for row in inputs[0].reshape(-1, inputs[0].shape[-1]).double().numpy():
                seen[name] = seen.get(name, np.zeros(row.size)) + row**2

        stored = "model.embed_tokens" if path == "lm_head" and config.tie_word_embeddings else path
        name = names.get_name(f"{stored}.weight", try_suffixes=(".weight",))
        layer.register_forward_pre_hook(see)

    for path, layer in peer.named_modules():
        if isinstance(layer, nn.Linear):
            watch(path)
    with torch.no_grad():
        for document in documents:
            peer(torch.tensor([document.token_ids]))
    return seen


@pytest.mark.parametrize(
    ("family", "tied"), [("llama", True), ("llama", False), ("qwen2", True), ("qwen3", False), ("granite", True)]
)
def test_sums_are_those_of_transformers_own_layers(family: str, tied: bool) -> None:
    peer = peer_of(random_config(family, 3) | {"tie_word_embeddings": tied}, 3)
    documents = random_documents(LENGTHS, peer.config.vocab_size)
    found = measure_importance(decoder_of(peer), documents, tokens_per_batch=40)
    expected = reference(peer, documents)
    assert set(found.sums) == set(expected)
    for name, sums_C in expected.items():
        np.testing.assert_allclose(found.sums[name][0], sums_C, rtol=2e-4, err_msg=name)
        assert found.counts[name].tolist() == [sum(LENGTHS)]


def test_what_a_batch_is_filled_up_with_does_not_count() -> None:
    config = random_config("llama", 4)
    decoder: Decoder = decoder_of(peer_of(config, 4)).to(torch.bfloat16)
    documents = random_documents(LENGTHS, config["vocab_size"])
    together = measure_importance(decoder, documents, tokens_per_batch=1000)
    alone = measure_importance(decoder, documents, tokens_per_batch=1)
    for name, sums_KC in alone.sums.items():
        np.testing.assert_allclose(together.sums[name].sum(), sums_KC.sum(), rtol=2e-3, err_msg=name)


def save_peer(family: str, directory: Path) -> PreTrainedModel:
    if family == "phi3":  # projections fused as no table here knows them
        values = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = AutoConfig.for_model("phi3", vocab_size=99, pad_token_id=0, **values)
        peer: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    else:
        peer = peer_of(random_config(family, 5), 5)
    peer.save_pretrained(directory)
    return peer


def test_a_model_that_transformers_runs_gives_the_same_or_is_refused(tmp_path: Path) -> None:
    peer = save_peer("qwen3", tmp_path / "qwen3")
    documents = random_documents(LENGTHS, peer.config.vocab_size)
    theirs = measure_importance(TransformersModel(tmp_path / "qwen3", dtype=torch.float32, device="cpu"), documents)
    ours = measure_importance(decoder_of(peer), documents)
    assert set(theirs.sums) == set(ours.sums)
    for name, sums_KC in ours.sums.items():
        np.testing.assert_allclose(theirs.sums[name], sums_KC, rtol=2e-4, err_msg=name)
    assert theirs.datasets == ours.datasets
    save_peer("phi3", tmp_path / "phi3")
    with pytest.raises(CompatibilityError, match=r"layers\.0\..*qkv_proj|layers\.0\."):
        measure_importance(TransformersModel(tmp_path / "phi3", dtype=torch.float32, device="cpu"), documents)


def test_a_file_is_laid_out_as_llama_imatrix_does_and_reads_back(tmp_path: Path) -> None:
    decoder = Decoder(decoder_of(peer_of(random_config("llama", 1))).config)
    documents = random_documents(LENGTHS, decoder.vocab_size)
    found = measure_importance(decoder, documents)
    found.save(tmp_path / "imatrix.gguf")
    reader = gguf.GGUFReader(tmp_path / "imatrix.gguf")
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert fields == {
        "general.type": "imatrix",
        "imatrix.datasets": list(found.datasets),
        "imatrix.chunk_count": len(LENGTHS),
        "imatrix.chunk_size": max(LENGTHS),
    }
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert set(tensors) == {f"{name}.{part}" for name in found.sums for part in ("in_sum2", "counts")}
    for name, sums_KC in found.sums.items():  # ne[] of C: columns first
        assert tensors[f"{name}.in_sum2"].shape.tolist() == [sums_KC.shape[1], 1]
        assert tensors[f"{name}.counts"].shape.tolist() == [1, 1]
        np.testing.assert_allclose(
            found.means(name), np.array(tensors[f"{name}.in_sum2"].data) / sum(LENGTHS), rtol=1e-6
        )
    again = ImportanceMatrix.load(tmp_path / "imatrix.gguf")
    assert (again.digest, again.datasets, again.num_documents) == (found.digest, found.datasets, len(LENGTHS))
    changed = measure_importance(decoder, documents[1:])
    assert (changed.digest, changed.datasets) != (found.digest, found.datasets)


def test_other_files_and_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "model.gguf")
    with pytest.raises(SourceError, match="no importance matrix"):
        ImportanceMatrix.load(tmp_path / "model.gguf")
    with pytest.raises(SourceError, match=re.escape("none.gguf")):
        ImportanceMatrix.load(tmp_path / "none.gguf")
    decoder = decoder_of(peer_of(random_config("llama", 2)))
    with pytest.raises(CompatibilityError, match="no documents"):
        measure_importance(decoder, [])
    with torch.no_grad():
        decoder.norm.weight[0] = torch.nan
    with pytest.raises(NumericalError, match="not finite"):
        measure_importance(decoder, random_documents(LENGTHS, decoder.vocab_size))
    one = {"blk.0.attn_q.weight": np.ones((1, 4), dtype=np.float32)}
    with pytest.raises(CompatibilityError, match="one count for each"):
        ImportanceMatrix(sums=one, counts={}, datasets=(), num_documents=1, longest=1)
    untouched = ImportanceMatrix(
        sums={"a": np.zeros((1, 4), dtype=np.float32)},
        counts={"a": np.zeros(1, dtype=np.float32)},
        datasets=(),
        num_documents=1,
        longest=1,
    )
    assert untouched.means("a").tolist() == [[1.0] * 4]  # an expert that no token chose
