from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import FAMILY_NAMES, ROPES
from gguf_models import LLAMA3, PLAIN, byte_level, model, model_with
from llama_cpp import llama_logits, needs_llama_cpp
from llama_server import llama_server
from transformers import AutoModelForCausalLM, AutoTokenizer

from spiritsafe.core.errors import CompatibilityError, IntegrityError, SourceError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models.checkpoints.directory import write_lineage
from spiritsafe.models.checkpoints.tensors import iterate_tensors, write_weights
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.gguf.convert import convert_gguf
from spiritsafe.models.gguf.reader import GGUFFile
from spiritsafe.models.gguf.tokenizer.splits import SPLITS
from spiritsafe.models.gguf.types import FILE_TYPES
from spiritsafe.models.gguf.write import write_gguf


def back(file: Path, directory: Path) -> dict[str, torch.Tensor]:
    directory.mkdir()
    convert_gguf(file, directory)
    return dict(iterate_tensors(directory))


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("rope", [PLAIN, ROPES[2], LLAMA3], ids=["plain", "linear", "llama3"])
def test_reading_takes_writing_back_bit_for_bit(family: str, rope: dict[str, Any], tmp_path: Path) -> None:
    config = model(tmp_path / "x", family, rope_parameters=rope)
    if rope is LLAMA3 and family not in ("llama", "mistral"):
        with pytest.raises(CompatibilityError, match="'llama3'"):
            write_gguf(tmp_path / "x", tmp_path / "x.gguf", "f32")
        return
    write_gguf(tmp_path / "x", tmp_path / "x.gguf", "f32")
    found, given = back(tmp_path / "x.gguf", tmp_path / "y"), dict(iterate_tensors(tmp_path / "x"))
    assert found.keys() == given.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in given.items())
    ours, theirs = (DecoderConfig.from_hf(read_json(tmp_path / name / "config.json")) for name in "xy")
    same = {"family": "llama"} if family == "mistral" else {}
    assert theirs.model_copy(update={"metadata": {}}) == ours.model_copy(update={"metadata": {}, **same})
    assert read_json(tmp_path / "y/generation_config.json") == read_json(tmp_path / "x/generation_config.json")
    assert bool(config["tie_word_embeddings"]) == ("lm_head.weight" not in found)


@needs_llama_cpp
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_llama_cpp_computes_what_transformers_does(family: str, tmp_path: Path) -> None:
    rope = LLAMA3 if family in ("llama", "mistral") else PLAIN
    model(tmp_path / "x", family, seed=3, rope_parameters=rope)
    ids = [int(i) for i in np.random.default_rng(5).integers(4, 260, 40)]
    with torch.no_grad():
        peer = AutoModelForCausalLM.from_pretrained(tmp_path / "x", dtype=torch.float32).eval()
        expected = peer(torch.tensor(ids)[None]).logits[0].double().log_softmax(-1)
    for file_type, most in (("f32", 1e-6), ("f16", 1e-4)):
        write_gguf(tmp_path / "x", tmp_path / "x.gguf", file_type)
        found = torch.from_numpy(llama_logits(tmp_path / "x.gguf", ids)).double().log_softmax(-1)
        assert float((expected.exp() * (expected - found)).sum(-1).max()) <= most


@pytest.mark.parametrize("file_type", [name for name, one in FILE_TYPES.items() if one.is_written_here])
def test_the_same_directory_gives_the_same_bytes_with_the_numbers_near(file_type: str, tmp_path: Path) -> None:
    model(tmp_path / "x", hidden_size=64, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2)
    facts = write_gguf(tmp_path / "x", tmp_path / "a.gguf", file_type)
    write_gguf(tmp_path / "x", tmp_path / "b.gguf", file_type)
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    assert facts.file_bytes == (tmp_path / "a.gguf").stat().st_size
    found, given = back(tmp_path / "a.gguf", tmp_path / "y"), dict(iterate_tensors(tmp_path / "x"))
    bits = {"f32": 24, "f16": 11, "bf16": 8, "q8_0": 8, "q5_0": 5, "q5_1": 5, "q4_0": 4, "q4_1": 4}[file_type]
    for name, tensor in given.items():
        error = (found[name] - tensor).norm() / tensor.norm()
        assert error <= 2.0**-bits * (3 if bits < 8 else 2), name


def test_sources_in_sixteen_bits_and_in_shards_are_read(tmp_path: Path) -> None:
    model(tmp_path / "x")
    given = {name: tensor.to(torch.bfloat16) for name, tensor in iterate_tensors(tmp_path / "x")}
    layout = [(name, torch.bfloat16, tuple(tensor.shape)) for name, tensor in given.items()]
    write_weights(tmp_path / "x", layout, given.__getitem__, shard_bytes=20_000)
    assert len(list((tmp_path / "x").glob("model-*.safetensors"))) > 1
    write_lineage(tmp_path / "x", name="Toy", license="MIT")
    write_gguf(tmp_path / "x", tmp_path / "x.gguf", "bf16")
    found = back(tmp_path / "x.gguf", tmp_path / "y")
    assert all(torch.equal(found[name], tensor.float()) for name, tensor in given.items())


def test_origin_and_licence_stand_in_the_file(tmp_path: Path) -> None:
    model(tmp_path / "x")
    write_gguf(tmp_path / "x", tmp_path / "x.gguf", "f16", name="Toy F16")
    with GGUFFile(tmp_path / "x.gguf") as file:
        stated = file.metadata
    assert (stated["general.name"], stated["general.license"]) == ("Toy F16", "Apache-2.0")
    assert stated["spiritsafe.recipe"] == "sha256:" + "1" * 64
    assert json.loads(stated["spiritsafe.lineage"]) == read_json(tmp_path / "x/lineage.json")


@pytest.mark.parametrize(
    ("family", "changes", "what"),
    [
        ("mistral", {"sliding_window": 8}, "no sliding window"),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}, "no sliding window"),
        ("qwen3", {"attention_bias": True}, "no bias behind attention"),
        ("llama", {"rope_parameters": ROPES[5]}, "'yarn'"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    family: str, changes: dict[str, Any], what: str, tmp_path: Path
) -> None:
    model(tmp_path / "x", family, **changes)
    with pytest.raises(CompatibilityError, match=what):
        write_gguf(tmp_path / "x", tmp_path / "x.gguf", "f32")
    assert not (tmp_path / "x.gguf").exists()


def test_bad_input_is_named_and_leaves_no_file(tmp_path: Path) -> None:
    model(tmp_path / "x")
    target = tmp_path / "out" / "x.gguf"
    with pytest.raises(CompatibilityError, match=r"llama\.cpp's quantiser"):
        write_gguf(tmp_path / "x", target, "q4_k_m")
    with pytest.raises(CompatibilityError, match="'q9'"):
        write_gguf(tmp_path / "x", target, "q9")
    given = dict(iterate_tensors(tmp_path / "x"))
    broken = {name: tensor.clone() for name, tensor in given.items()}
    for number, error, what in ((float("nan"), SourceError, "NaN"), (1e6, CompatibilityError, "float16")):
        broken["model.embed_tokens.weight"][3, 2] = number
        layout = [(name, torch.float32, tuple(tensor.shape)) for name, tensor in broken.items()]
        write_weights(tmp_path / "x", layout, broken.__getitem__)
        with pytest.raises(IntegrityError, match=r"lineage\.json"):
            write_gguf(tmp_path / "x", target, "f16")
        write_lineage(tmp_path / "x", name="Toy", license="MIT")
        with pytest.raises(error, match=what):
            write_gguf(tmp_path / "x", target, "f16")
    layout = [row for row in layout if row[0] != "model.norm.weight"]
    write_weights(tmp_path / "x", layout, broken.__getitem__)
    write_lineage(tmp_path / "x", name="Toy", license="MIT")
    with pytest.raises(SourceError, match=r"model\.norm\.weight"):
        write_gguf(tmp_path / "x", target, "f32")
    assert not target.exists()


def test_a_stranger_with_llama_cpps_server_alone_gets_the_same_tokens(tmp_path: Path) -> None:
    model_with(tmp_path / "x", byte_level(SPLITS["qwen2"], inside=False))
    write_gguf(tmp_path / "x", tmp_path / "x.gguf", "f32")
    prompt = "the cat sat on 12"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "x")
    peer = AutoModelForCausalLM.from_pretrained(tmp_path / "x", dtype=torch.float32).eval()
    ids = tokenizer(prompt, return_tensors="pt")
    out = peer.generate(**ids, max_new_tokens=24, do_sample=False, pad_token_id=0, eos_token_id=None)[0]
    asked = {"prompt": prompt, "temperature": 0.0, "n_predict": 24, "return_tokens": True, "ignore_eos": True}
    with llama_server(tmp_path / "x.gguf") as url:
        request = urllib.request.Request(
            f"{url}/completion", json.dumps(asked).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.loads(answer.read())["tokens"]
    assert found == out[ids["input_ids"].shape[1] :].tolist()
