"""Merged model directories: what is in them, what is refused, and how much of them is in memory at once."""

from __future__ import annotations

import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.core.files.atomic import read_json, write_json
from spiritsafe.models.checkpoints import merge as merging
from spiritsafe.models.checkpoints.directory import write_lineage
from spiritsafe.models.checkpoints.lineage import parent_of, read_checkpoint, verify_checkpoint
from spiritsafe.models.checkpoints.merge import merge_checkpoints
from spiritsafe.models.checkpoints.merge_methods import MergeMethod, MergeSettings, merge_tensors
from spiritsafe.models.checkpoints.tensors import iterate_tensors
from spiritsafe.models.sources.tiny import write_tiny
from spiritsafe.models.transformers_backend.loading import load_model

Tensors = dict[str, Tensor]


def settings(method: MergeMethod = "ties", count: int = 2, **changes: Any) -> MergeSettings:
    values: dict[str, Any] = {
        "weights": (1.0,) * count,
        "densities": (0.5 if method in ("ties", "dare", "dare-ties") else 1.0,) * count,
        "normalize": method in ("linear", "ties"),
    }
    return MergeSettings(method=method, **{**values, **changes})


def weights_of(directory: Path) -> Tensors:
    return dict(iterate_tensors(directory))


def changed(directory: Path, change: Callable[[Tensors], Tensors]) -> Path:
    """The directory with other tensors."""
    path = directory / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})
    write_lineage(directory, name=directory.name, license="MIT")
    return directory


def reconfigured(directory: Path, **keys: Any) -> Path:
    write_json(directory / "config.json", {**read_json(directory / "config.json"), **keys})
    write_lineage(directory, name=directory.name, license="MIT")
    return directory


@pytest.fixture
def family(tmp_path: Path) -> list[Path]:
    """A base and two models that went on from it."""
    found = []
    for seed, name in enumerate(("base", "a", "b")):
        directory = tmp_path / name
        directory.mkdir()
        write_tiny(directory, seed=7, num_layers=1, hidden_size=32, num_heads=2, num_kv_heads=1)
        torch.manual_seed(seed)
        step = 0.01 * min(seed, 1)
        found.append(
            changed(directory, lambda tensors, s=step: {n: t + s * torch.randn_like(t) for n, t in tensors.items()})  # type: ignore[misc]
        )
    return found


def merge(family: list[Path], target: Path, asked: MergeSettings | None = None, **options: Any) -> Tensors:
    asked = asked or settings()
    base, *models = family
    merge_checkpoints(
        target, models, None if asked.method == "linear" else base, asked, name="m", license="MIT", **options
    )
    return weights_of(target)


def refused(family: list[Path], tmp_path: Path, message: str, **options: Any) -> str:
    """The error, whole; nothing is left behind."""
    with pytest.raises(CompatibilityError, match=message) as caught:
        merge(family, tmp_path / "merged", **options)
    assert not (tmp_path / "merged").exists()
    assert not list(tmp_path.glob(".merged*"))
    return caught.value.diagnostics()


# ---- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["linear", "task-arithmetic", "ties", "dare", "dare-ties"])
def test_every_tensor_is_merged_by_itself(method: MergeMethod, family: list[Path], tmp_path: Path) -> None:
    asked = settings(method, seed=4, weights=(0.7, 0.4))
    found = merge(family, tmp_path / "merged", asked)
    base, *models = (weights_of(place) for place in family)
    assert found.keys() == base.keys()
    for name, tensor in found.items():
        start = None if method == "linear" else base[name]
        assert torch.equal(tensor, merge_tensors(name, start, [model[name] for model in models], asked)), name
        assert not torch.equal(tensor, base[name])


def test_it_is_a_whole_model_with_its_parents(family: list[Path], tmp_path: Path) -> None:
    parents = tuple(parent_of(read_checkpoint(place), "weights") for place in family)
    base, *models = family
    made = merge_checkpoints(
        tmp_path / "merged", models, base, settings(), name="m", license="MIT", parents=parents, recipe="sha256:ab"
    )
    assert verify_checkpoint(tmp_path / "merged") == made
    assert (made.parents, made.license, made.recipe, made.name) == (parents, "MIT", "sha256:ab", "m")
    assert made.num_parameters == read_checkpoint(base).num_parameters
    for file in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (tmp_path / "merged" / file).read_bytes() == (models[0] / file).read_bytes()
    loaded = load_model(tmp_path / "merged", dtype=torch.float32)
    embedding = weights_of(tmp_path / "merged")["model.embed_tokens.weight"]
    assert torch.equal(loaded.model.head().weight_VH, embedding)


def test_the_first_model_gives_tokenizer_template_and_configuration(family: list[Path], tmp_path: Path) -> None:
    settings_of = read_json(family[1] / "tokenizer_config.json")
    settings_of["chat_template"] = settings_of["chat_template"].replace("\\n", " ")
    write_json(family[1] / "tokenizer_config.json", settings_of)
    reconfigured(family[1], max_position_embeddings=512, use_cache=False)
    merge(family, tmp_path / "merged")
    assert read_json(tmp_path / "merged" / "tokenizer_config.json") == settings_of
    config = read_json(tmp_path / "merged" / "config.json")
    assert (config["max_position_embeddings"], config["use_cache"]) == (512, False)


def test_shards_in_and_out_are_the_same_model(family: list[Path], tmp_path: Path) -> None:
    whole = merge(family, tmp_path / "whole")
    merge(family, tmp_path / "sharded", shard_bytes=20_000)
    assert len(list((tmp_path / "sharded").glob("model-*-of-*.safetensors"))) > 2
    index = read_json(tmp_path / "sharded" / "model.safetensors.index.json")
    assert index["weight_map"].keys() == whole.keys()
    shards = weights_of(tmp_path / "sharded")
    assert all(torch.equal(shards[name], tensor) for name, tensor in whole.items())
    # one model in shards, in another order of tensors
    table = load_file(family[2] / "model.safetensors")
    names = sorted(table, reverse=True)
    parts = {"model-00001-of-00002.safetensors": names[:4], "model-00002-of-00002.safetensors": names[4:]}
    (family[2] / "model.safetensors").unlink()
    for file, kept in parts.items():
        save_file({name: table[name] for name in kept}, family[2] / file, metadata={"format": "pt"})
    places = {name: file for file, kept in parts.items() for name in kept}
    write_json(family[2] / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})
    again = merge(family, tmp_path / "again")
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())


def test_mixed_number_formats_are_merged_in_float32_and_rounded_to_the_bases(
    family: list[Path], tmp_path: Path
) -> None:
    for place, dtype in zip(family, (torch.bfloat16, torch.float16, torch.float32), strict=True):
        changed(place, lambda tensors, d=dtype: {name: tensor.to(d) for name, tensor in tensors.items()})  # type: ignore[misc]
    found = merge(family, tmp_path / "merged", settings("task-arithmetic"))
    base, first, second = (weights_of(place) for place in family)
    for name, tensor in found.items():
        start = base[name].double()
        exact = start + (first[name].double() - start) + (second[name].double() - start)
        near = exact.bfloat16().double()
        assert tensor.dtype == torch.bfloat16
        assert bool(((tensor.double() - exact).abs() <= (near - exact).abs() * (1 + 1e-4) + 1e-9).all()), name
    assert read_json(tmp_path / "merged" / "config.json")["dtype"] == "bfloat16"
    wide = merge(family, tmp_path / "wide", settings("task-arithmetic"), dtype=torch.float32)
    assert {tensor.dtype for tensor in wide.values()} == {torch.float32}
    assert all(torch.equal(tensor.bfloat16(), found[name]) for name, tensor in wide.items())
    assert read_json(tmp_path / "wide" / "config.json")["dtype"] == "float32"
    mean = merge(family, tmp_path / "mean", settings("linear"))
    assert {tensor.dtype for tensor in mean.values()} == {torch.float16}  # as the first


def test_a_tied_head_that_one_file_holds_twice_is_no_tensor_of_its_own(family: list[Path], tmp_path: Path) -> None:
    whole = merge(family, tmp_path / "whole")
    changed(family[1], lambda tensors: {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"].clone()})
    assert read_json(family[1] / "config.json")["tie_word_embeddings"] is True
    found = merge(family, tmp_path / "merged")
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())


def test_whole_numbers_are_copied_where_all_agree(family: list[Path], tmp_path: Path) -> None:
    for place in family:
        changed(place, lambda tensors: {**tensors, "model.positions": torch.arange(5)})
    found = merge(family, tmp_path / "merged", dtype=torch.bfloat16)
    assert found["model.positions"].dtype == torch.int64
    assert found["model.positions"].tolist() == [0, 1, 2, 3, 4]
    changed(family[2], lambda tensors: {**tensors, "model.positions": torch.arange(5) + 1})
    said = refused(family, tmp_path / "other", "model.positions holds whole numbers that differ")
    assert "quantised" in said


def test_one_merged_tensor_is_alive_at_a_time(
    family: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def watched(name: str, base: Tensor | None, tensors: list[Tensor], asked: MergeSettings) -> Tensor:
        alive.append(sum(one() is not None for one in made))
        found = merge_tensors(name, base, tensors, asked)
        made.extend(map(weakref.ref, (*tensors, found)))
        return found

    monkeypatch.setattr(merging, "merge_tensors", watched)
    merge(family, tmp_path / "merged")
    assert len(alive) > 8
    assert max(alive) <= 1  # what is about to be dropped, when the next is made


def test_an_error_in_the_middle_leaves_what_was_there(
    family: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(family, tmp_path / "merged")
    before = read_checkpoint(tmp_path / "merged")
    count = 0

    def failing(*parts: Any) -> Tensor:
        nonlocal count
        count += 1
        if count == 4:
            raise RuntimeError("stop")
        return merge_tensors(*parts)

    monkeypatch.setattr(merging, "merge_tensors", failing)
    with pytest.raises(RuntimeError, match="stop"):
        merge(family, tmp_path / "merged", settings("task-arithmetic"))
    assert verify_checkpoint(tmp_path / "merged") == before
    assert not list(tmp_path.glob(".merged*"))


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1, 2])
def test_other_tokens_are_refused_with_the_way_out(place: int, family: list[Path], tmp_path: Path) -> None:
    content = read_json(family[place] / "tokenizer.json")
    vocabulary = content["model"]["vocab"]
    vocabulary["A"], vocabulary["B"] = vocabulary["B"], vocabulary["A"]
    (family[place] / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    assert "objective" in refused(family, tmp_path, "different vocabularies")


def test_another_number_of_tokens_is_another_vocabulary(family: list[Path], tmp_path: Path) -> None:
    reconfigured(family[1], vocab_size=264)
    changed(
        family[1],
        lambda tensors: {
            name: torch.nn.functional.pad(tensor, (0, 0, 0, 4)) if "embed" in name else tensor
            for name, tensor in tensors.items()
        },
    )
    refused(family, tmp_path, "different vocabularies")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"rms_norm_eps": 1e-6}, "not of one architecture: rms_norm_eps is 1e-05 and 1e-06"),
        ({"hidden_act": "gelu"}, "hidden_act is 'silu' and 'gelu'"),
        ({"num_attention_heads": 4, "head_dim": 8}, "num_attention_heads is 2 and 4, and 1 more"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "rope_theta": 5e5}, "rope_parameters is"),
        ({"model_type": "mistral"}, "not of one architecture: .*'llama'"),
        ({"quantization_config": {"quant_method": "gptq"}}, "is quantised: its weights are codes"),
    ],
)
def test_models_that_compute_differently_are_refused(
    keys: dict[str, Any], message: str, family: list[Path], tmp_path: Path
) -> None:
    reconfigured(family[2], **keys)
    refused(family, tmp_path, message)


def test_what_decides_nothing_may_differ(family: list[Path], tmp_path: Path) -> None:
    plain = merge(family, tmp_path / "plain")
    config = {key: value for key, value in read_json(family[2] / "config.json").items() if key != "attention_bias"}
    write_json(
        family[2] / "config.json",
        {
            **config,
            "transformers_version": "4.40.0",
            "torch_dtype": "float16",
            "attention_dropout": 0.1,
            "eos_token_id": [2, 3],
            "max_position_embeddings": 4096,
        },
    )
    found = merge(family, tmp_path / "merged")
    assert all(torch.equal(found[name], tensor) for name, tensor in plain.items())


def test_where_positions_are_scaled_the_length_of_the_context_decides(family: list[Path], tmp_path: Path) -> None:
    rope = {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}, "rope_scaling": None}
    for place, length in zip(family, (1024, 1024, 2048), strict=True):
        reconfigured(place, **rope, max_position_embeddings=length)
    refused(family, tmp_path, "max_position_embeddings is 1024 and 2048")


@pytest.mark.parametrize("place", [0, 2])
def test_a_tensor_that_one_model_lacks_is_named(place: int, family: list[Path], tmp_path: Path) -> None:
    lost = "model.layers.0.mlp.up_proj.weight"
    changed(family[place], lambda tensors: {name: one for name, one in tensors.items() if name != lost})
    said = refused(family, tmp_path, f"has a tensor '{lost}'")
    assert str(family[place]) in said


def test_another_shape_and_another_kind_of_number_are_named(family: list[Path], tmp_path: Path) -> None:
    saved = load_file(family[2] / "model.safetensors")
    changed(family[2], lambda tensors: {**tensors, "model.norm.weight": torch.ones(33)})
    assert "the same number of rows" in refused(family, tmp_path, r"model.norm.weight has shape \(32,\) in .*\(33,\)")
    changed(family[2], lambda tensors: {**saved, "model.norm.weight": torch.ones(32, dtype=torch.int32)})
    refused(family, tmp_path, "model.norm.weight is F32 in .* and I32")


def test_adapters_are_to_be_merged_into_their_base_first(family: list[Path], tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    write_json(adapter / "adapter_config.json", {"peft_type": "LORA"})
    said = refused([family[0], adapter, family[2]], tmp_path, "holds adapters, not a model")
    assert "Merge them into their base first" in said
    shutil.rmtree(adapter)
    with pytest.raises(SourceError, match=r"no config\.json"):
        merge([family[0], adapter, family[2]], tmp_path / "merged")


def test_numbers_that_the_format_cannot_hold_are_refused(family: list[Path], tmp_path: Path) -> None:
    for place in family:
        changed(place, lambda tensors: {name: tensor.half() for name, tensor in tensors.items()})
    changed(family[1], lambda tensors: {**tensors, "model.norm.weight": torch.full((32,), 6e4).half()})
    said = refused(
        family, tmp_path, "model.norm.weight: merged, .* float16", asked=settings("task-arithmetic", scale=2)
    )
    assert "lambda" in said
    assert merge(family, tmp_path / "wide", settings("task-arithmetic", scale=2.0), dtype=torch.float32)


def test_as_many_weights_as_models(family: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 models and 3 weights"):
        merge(family, tmp_path / "merged", settings(count=3))
