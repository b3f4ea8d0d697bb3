from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from spiritsafe.core.errors import SourceError
from spiritsafe.models.checkpoints.tensors import (
    iterate_tensors,
    read_tensor_table,
    torch_dtype,
    weight_files,
    write_safetensors,
)


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
