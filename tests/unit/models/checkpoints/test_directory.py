from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from spiritsafe.core.errors import SourceError, StorageError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models.checkpoints.directory import new_directory, save_checkpoint, write_lineage
from spiritsafe.models.checkpoints.lineage import parent_of, read_checkpoint, verify_checkpoint
from spiritsafe.models.checkpoints.tensors import iterate_tensors
from spiritsafe.models.cost.footprint import measure_bytes
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import Document, pack_documents
from spiritsafe.models.pruning.depth import cut_depth
from spiritsafe.models.pruning.random_init import randomise
from spiritsafe.models.sources.config import source_config
from spiritsafe.models.sources.resolve import resolve_source
from spiritsafe.models.transformers_backend.loading import load_model


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


def test_a_sharded_half_precision_model_is_whole_for_transformers_and_for_us(
    tiny_directory: Path, tmp_path: Path
) -> None:
    loaded = load_model(tiny_directory, dtype=torch.float32)
    made = save_checkpoint(
        tmp_path / "m",
        loaded.model,
        loaded.chat,
        name="m",
        license="MIT",
        dtype=torch.bfloat16,
        shard_bytes=100_000,
    )
    assert len(list((tmp_path / "m").glob("model-*-of-*.safetensors"))) > 2
    assert read_json(tmp_path / "m" / "config.json")["dtype"] == "bfloat16"
    assert made == verify_checkpoint(tmp_path / "m")
    assert made.num_parameters == sum(p.numel() for p in loaded.model.parameters())
    assert made.weight_bytes == measure_bytes(tmp_path / "m") == 2 * made.num_parameters
    for parameter in loaded.model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).float()
    again = load_model(tmp_path / "m", dtype=torch.float32)
    assert all(torch.equal(p, q) for p, q in zip(loaded.model.parameters(), again.model.parameters(), strict=True))
    peer = AutoModelForCausalLM.from_pretrained(tmp_path / "m").eval()
    assert peer.dtype == torch.bfloat16
    ids = torch.tensor([[5, 9, 17, 3]])
    batch = pack_documents([Document(token_ids=(5, 9, 17, 3), supervised=(True,) * 4)])
    assert isinstance(again.model, Decoder)
    torch.testing.assert_close(again.model.logits(again.model(batch)), peer.float()(ids).logits[0], atol=1e-4, rtol=0)
    shard = sorted((tmp_path / "m").glob("model-*"))[1]
    shard.unlink()  # as an upload that was broken off leaves it
    with pytest.raises(SourceError, match=shard.name):
        load_model(tmp_path / "m", dtype=torch.float32)


def test_a_stranger_resolves_and_cuts_a_sharded_model(tiny_directory: Path, tmp_path: Path) -> None:
    """Every reader takes shards: the source, the footprint, a cut, random weights."""
    loaded = load_model(tiny_directory, dtype=torch.float32)
    save_checkpoint(tmp_path / "m", loaded.model, loaded.chat, name="m", license="MIT", shard_bytes=100_000)
    directory = resolve_source(str(tmp_path / "m"), cache=tmp_path / "cache")
    assert source_config(str(tmp_path / "m"), cache=tmp_path / "cache").weight_bytes == measure_bytes(directory)
    cut_depth(directory, tmp_path / "cut", [0], name="cut")
    whole = dict(iterate_tensors(tiny_directory))
    kept = dict(iterate_tensors(tmp_path / "cut"))
    assert kept
    assert all(torch.equal(tensor, whole[name]) for name, tensor in kept.items())
    randomise(directory, tmp_path / "random", 1, name="random")
    assert dict(iterate_tensors(tmp_path / "random")).keys() == whole.keys()
