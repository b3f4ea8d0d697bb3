from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal

import pytest
import torch
from quantised_peers import logits_of, nf4_in_transformers

from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.models.decoder.head_product import head_logits
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import Document, pack_documents
from spiritsafe.models.transformers_backend.loading import load_decoder, load_model
from spiritsafe.models.transformers_backend.model import TransformersModel


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_arrive_in_the_wanted_type(dtype: torch.dtype, tiny_directory: Path) -> None:
    loaded = load_model(tiny_directory, dtype=dtype)
    assert isinstance(loaded.model, Decoder)
    assert {p.dtype for p in loaded.model.parameters()} == {dtype}
    assert loaded.checkpoint.name == "tiny-7"
    assert loaded.chat.vocab_size == loaded.model.vocab_size == 260
    assert loaded.directory == tiny_directory


def test_what_the_decoder_does_not_implement_goes_to_transformers(tiny_directory: Path, tmp_path: Path) -> None:
    assert isinstance(
        load_model(tiny_directory, dtype=torch.float32, implementation="transformers").model, TransformersModel
    )
    target = shutil.copytree(tiny_directory, tmp_path / "m")
    config = json.loads((target / "config.json").read_text())
    config["hidden_act"] = "gelu"
    (target / "config.json").write_text(json.dumps(config))
    assert isinstance(load_model(target, dtype=torch.float32).model, TransformersModel)
    with pytest.raises(CompatibilityError, match="gelu"):
        load_model(target, dtype=torch.float32, implementation="decoder")


@pytest.mark.parametrize("implementation", ["decoder", "transformers"])
def test_a_teacher_in_half_precision_is_the_same_model_rounded(
    implementation: Literal["decoder", "transformers"], tiny_directory: Path
) -> None:
    full = load_model(tiny_directory, dtype=torch.float32, implementation=implementation).model
    half = load_model(tiny_directory, dtype=torch.bfloat16, implementation=implementation).model
    rounded = {name: tensor.to(torch.bfloat16) for name, tensor in full.state_dict().items()}
    assert {name for name, tensor in half.state_dict().items() if not tensor.equal(rounded[name])} == set()
    batch = pack_documents(
        [Document(token_ids=tuple(range(20, 60 + n)), supervised=(True,) * (40 + n)) for n in range(3)]
    )
    with torch.inference_mode():  # as teachers and references are asked
        for exact, near in zip(full(batch), half(batch), strict=True):
            cosine = torch.nn.functional.cosine_similarity(exact, near.float(), dim=0)
            assert float(cosine) > 0.999
        logits = head_logits(half.head(), half(batch))
    assert logits.dtype == torch.float32
    assert all(parameter.grad is None for parameter in half.parameters())


def test_missing_parts_are_named(tiny_directory: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "model.safetensors", "lineage.json"):
        target = shutil.copytree(tiny_directory, tmp_path / name)
        (target / name).unlink()
        with pytest.raises(SourceError, match=name.split(".")[0] if name != "model.safetensors" else "weights"):
            load_model(target, dtype=torch.float32)


def test_a_tokenizer_too_large_for_the_weights_is_refused(tiny_directory: Path, tmp_path: Path) -> None:
    target = shutil.copytree(tiny_directory, tmp_path / "m")
    content = json.loads((target / "tokenizer.json").read_text())
    content["added_tokens"].append(content["added_tokens"][0] | {"id": 260, "content": "<|new|>"})
    (target / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(CompatibilityError, match="261 tokens"):
        load_model(target, dtype=torch.float32)


def test_loading_copies_weights_once(tiny_directory: Path) -> None:
    one, two = load_decoder(tiny_directory, dtype=torch.float32), load_decoder(tiny_directory, dtype=torch.float32)
    with torch.no_grad():
        one.head().weight_VH.zero_()
    assert float(two.head().weight_VH.detach().abs().sum()) > 0  # no storage shared with the file or between loads


@pytest.mark.parametrize("weights", ["4bit", "8bit"])
def test_models_that_transformers_runs_are_quantised_by_transformers(
    tiny_directory: Path, weights: Literal["4bit", "8bit"]
) -> None:
    loaded = load_model(tiny_directory, dtype=torch.float32, implementation="transformers", weights=weights)
    ids = tuple(range(5, 40))
    batch = pack_documents([Document(token_ids=ids, supervised=(True,) * len(ids))])
    with torch.no_grad():
        found = head_logits(loaded.model.head(), loaded.model(batch))
    assert loaded.model.number_format == f"{weights}+float32"
    if weights == "4bit":
        expected = logits_of(nf4_in_transformers(tiny_directory), ids)
        ours = load_model(tiny_directory, dtype=torch.float32, weights=weights).model
        with torch.no_grad():
            torch.testing.assert_close(head_logits(ours.head(), ours(batch)), expected, rtol=0, atol=1e-4)
    else:
        plain = load_decoder(tiny_directory, dtype=torch.float32)
        with torch.no_grad():
            expected = head_logits(plain.head(), plain(batch))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 if weights == "4bit" else 0.1)
