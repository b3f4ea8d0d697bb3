from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from spiritsafe.core.errors import SourceError, StorageError
from spiritsafe.models.checkpoints.directory import new_directory, save_checkpoint, write_lineage
from spiritsafe.models.checkpoints.lineage import parent_of, read_checkpoint, verify_checkpoint
from spiritsafe.models.loading import load_model


def test_a_saved_checkpoint_loads_again_with_its_lineage(tiny_directory: Path, tmp_path: Path) -> None:
    loaded = load_model(tiny_directory, dtype=torch.float32)
    with torch.no_grad():
        loaded.model.head().weight_VH.add_(0.01)
    parent = parent_of(loaded.checkpoint, "weights", "outputs")
    made = save_checkpoint(
        tmp_path / "child",
        loaded.model,
        loaded.chat,
        name="child",
        license="MIT",
        parents=(parent,),
        recipe="sha256:00",
    )
    again = load_model(tmp_path / "child", dtype=torch.float32)
    assert torch.equal(again.model.head().weight_VH, loaded.model.head().weight_VH)
    assert again.checkpoint == made == verify_checkpoint(tmp_path / "child")
    assert made.parents[0].used_as == ("weights", "outputs")
    assert made.parents[0].digest == read_checkpoint(tiny_directory).digest
    assert made.num_parameters == sum(p.numel() for p in loaded.model.parameters())
    assert made.weight_bytes == 4 * made.num_parameters
    assert os.stat(tmp_path / "child").st_mode & 0o777 == 0o777 & ~current_umask()
    assert [p.name for p in tmp_path.iterdir()] == ["child"]


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_earlier_checkpoint_is_replaced_whole(tiny_directory: Path, tmp_path: Path) -> None:
    loaded = load_model(tiny_directory, dtype=torch.float32)
    save_checkpoint(tmp_path / "m", loaded.model, loaded.chat, name="one", license="MIT")
    (tmp_path / "m" / "stray").write_text("x")
    save_checkpoint(tmp_path / "m", loaded.model, loaded.chat, name="two", license="MIT")
    assert read_checkpoint(tmp_path / "m").name == "two"
    assert not (tmp_path / "m" / "stray").exists()


def test_other_directories_are_not_overwritten(tiny_directory: Path, tmp_path: Path) -> None:
    loaded = load_model(tiny_directory, dtype=torch.float32)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("x")
    with pytest.raises(SourceError, match="is not a model"):
        save_checkpoint(tmp_path / "thesis", loaded.model, loaded.chat, name="m", license="MIT")
    assert (tmp_path / "thesis" / "chapter.txt").exists()


def fail_in(path: Path) -> None:
    with new_directory(path) as temporary:
        (temporary / "half").write_text("x")
        raise RuntimeError("stop")


def test_an_error_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        fail_in(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "kept").touch()
    with pytest.raises(RuntimeError):
        fail_in(tmp_path / "a")
    assert [p.name for p in tmp_path.rglob("*")] == ["a", "kept"]


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".a.xyz.partial").mkdir()
    (tmp_path / ".b.xyz.partial").mkdir()
    with new_directory(tmp_path / "a") as temporary:
        (temporary / "f").touch()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".b.xyz.partial", "a"]


def test_a_directory_without_weights_gets_no_lineage(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no weights"):
        write_lineage(tmp_path, name="x", license="MIT")


def test_an_unwritable_place_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError), new_directory(tmp_path / "file" / "a"):
        pass
