from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file, save_file

from spiritsafe.core.errors import SourceError
from spiritsafe.models.checkpoints.tensors import (
    convert_weights,
    iterate_tensors,
    read_tensor_table,
    saved_dtype,
    torch_dtype,
    weight_files,
    write_safetensors,
    write_weights,
)

_INDEX = "model.safetensors.index.json"


def test_what_is_written_is_what_safetensors_reads(tmp_path: Path) -> None:
    tensors = {
        "a": torch.randn(3, 5),
        "b.c": torch.arange(7),
        "h": torch.randn(4, 4).to(torch.bfloat16),
        "odd": torch.ones(3, dtype=torch.uint8),
        "view": torch.randn(6, 4)[::2].T,
        "empty": torch.zeros(0, 3),
    }
    layout = [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]
    num_bytes = write_safetensors(tmp_path / "model.safetensors", layout, tensors.__getitem__)
    found = load_file(tmp_path / "model.safetensors")
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    table = read_tensor_table(tmp_path)
    assert num_bytes == sum(info.num_bytes for info in table.values())
    assert table["a"].num_elements == 15


def test_a_tensor_other_than_announced_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="announced"):
        write_safetensors(tmp_path / "m.safetensors", [("a", torch.float32, (2,))], lambda _: torch.zeros(3))
    assert list(tmp_path.iterdir()) == []


def test_shards_are_followed_and_missing_ones_named(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "one.safetensors")
    save_file({"b": torch.ones(3)}, tmp_path / "two.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert {name: tuple(tensor.shape) for name, tensor in iterate_tensors(tmp_path)} == {"a": (2,), "b": (3,)}
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(SourceError, match=r"1 of 2 weight files: two\.safetensors"):
        weight_files(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(SourceError, match="names no shards"):
        weight_files(tmp_path)


@pytest.mark.parametrize("name", ["../other/model.safetensors", "/etc/passwd", "sub/model.safetensors"])
def test_a_shard_outside_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    """The folder's digest, which a registration names, would not be of those weights."""
    for place in (tmp_path / "other", tmp_path / "model" / "sub"):
        place.mkdir(parents=True)
        (place / "model.safetensors").write_bytes(b"")
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(SourceError, match="not in its folder"):
        weight_files(tmp_path / "model")


def test_no_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no weights"):
        weight_files(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 40, -1])
def test_truncated_weights_are_named(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(20)}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SourceError, match=r"model\.safetensors"):
        read_tensor_table(tmp_path)


def test_foreign_weights_are_named(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
    not_a_table = (2).to_bytes(8, "little") + b"[]"
    no_offsets = (8).to_bytes(8, "little") + b'{"a":{}}'
    for content in (pointer, not_a_table, no_offsets):
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(SourceError, match=r"model\.safetensors") as caught:
            read_tensor_table(tmp_path)
        assert "git lfs pull" in caught.value.hint


def test_unknown_types_are_refused() -> None:
    assert torch_dtype("BF16") == torch.bfloat16
    with pytest.raises(SourceError, match="F4"):
        torch_dtype("F4")


def tensors_of(num: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(num)
    return {f"layer.{index:02d}": torch.randn(16, 8, generator=generator) for index in range(num)}


def write(directory: Path, tensors: dict[str, torch.Tensor], **more: int) -> None:
    layout = [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]
    write_weights(directory, layout, tensors.__getitem__, **more)


def test_one_file_is_byte_for_byte_that_of_safetensors(tmp_path: Path) -> None:
    write(tmp_path, tensors_of(3))
    save_file(tensors_of(3), tmp_path / "theirs", metadata={"format": "pt"})
    assert (tmp_path / "model.safetensors").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_shards_and_index_are_those_of_the_hubs_own_writer(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    tensors = tensors_of(7) | {"large": torch.ones(64, 64)}
    write(tmp_path / "ours", tensors, shard_bytes=2000)
    save_torch_state_dict(tensors, tmp_path / "theirs", max_shard_size=2000, metadata={"format": "pt"})
    names = sorted(path.name for path in (tmp_path / "theirs").iterdir())
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == names
    assert len(names) == 4 + 1
    ours, theirs = (json.loads((tmp_path / who / _INDEX).read_text()) for who in ("ours", "theirs"))
    assert ours["weight_map"] == theirs["weight_map"]
    assert ours["metadata"]["total_size"] == theirs["metadata"]["total_size"]
    assert {name: tensor.tolist() for name, tensor in iterate_tensors(tmp_path / "ours")} == {
        name: tensor.tolist() for name, tensor in tensors.items()
    }


def test_what_is_broken_off_between_shards_is_no_model_and_the_next_write_is(tmp_path: Path) -> None:
    tensors = tensors_of(6)
    write(tmp_path, tensors)

    def produce(name: str) -> torch.Tensor:
        if name == "layer.04":
            raise KeyboardInterrupt
        return tensors[name]

    layout = [(name, torch.float32, (16, 8)) for name in tensors]
    with pytest.raises(KeyboardInterrupt):
        write_weights(tmp_path, layout, produce, shard_bytes=1100)
    with pytest.raises(SourceError, match="holds no weights"):
        weight_files(tmp_path)
    write(tmp_path, tensors, shard_bytes=600)
    assert len(weight_files(tmp_path)) == 6
    write(tmp_path, tensors)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_numbers_are_rounded_to_nearest_ties_to_even_and_integers_stay(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    tensors = {"a": torch.tensor([[1.0 + 2.0**-8, 1.0 + 3 * 2.0**-8, 1.0 + 2.0**-8 + 2.0**-20]]), "b": torch.arange(3)}
    write(tmp_path, tensors)
    convert_weights(tmp_path, tmp_path / "half", torch.bfloat16)
    found = dict(iterate_tensors(tmp_path / "half"))
    assert found["a"].dtype == torch.bfloat16
    assert found["a"].tolist() == [[1.0, 1.0 + 2.0**-6, 1.0 + 2.0**-7]]
    assert torch.equal(found["b"], tensors["b"])


@pytest.mark.parametrize(
    ("wish", "config", "stored", "expected"),
    [
        ("auto", {"dtype": "bfloat16"}, None, torch.bfloat16),
        ("auto", {"torch_dtype": "float16"}, None, torch.bfloat16),
        ("auto", {"dtype": "float32"}, torch.float32, torch.float32),
        ("auto", {}, torch.float16, torch.bfloat16),
        ("auto", {"dtype": "float32"}, torch.bfloat16, torch.bfloat16),
        ("auto", {}, None, torch.float32),
        ("float32", {"dtype": "bfloat16"}, None, torch.float32),
        ("bfloat16", {"dtype": "float32"}, None, torch.bfloat16),
    ],
)
def test_a_model_is_saved_in_16_bits_where_the_one_before_is(
    tmp_path: Path, wish: Any, config: dict[str, str], stored: torch.dtype | None, expected: torch.dtype
) -> None:
    if stored is not None:  # a norm that was kept in float32 says nothing
        write(tmp_path, {"norm": torch.ones(8), "matrix": torch.ones(4, 8).to(stored)})
    assert saved_dtype(wish, config, None if stored is None else tmp_path) == expected
