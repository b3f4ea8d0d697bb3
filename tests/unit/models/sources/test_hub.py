"""The hub, as its real client meets it on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from heard import Heard
from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from model_hub import COMMIT, ModelHub, model_hub
from safetensors.torch import load_file, save_file

from spiritsafe.core.errors import SourceError
from spiritsafe.core.events import NullSink
from spiritsafe.models.checkpoints.tensors import read_tensor_table
from spiritsafe.models.sources import hub
from spiritsafe.models.sources.hub import fetch_repository, fetch_small_files, find_repository, remote_tensors
from spiritsafe.models.sources.tiny import write_tiny


def write_repository(directory: Path, *, sharded: bool = False) -> Path:
    """As somebody publishes it; with files that nobody wants."""
    directory.mkdir()
    write_tiny(directory, seed=1)
    (directory / "README.md").write_text("---\nlicense: mit\n---\n")
    (directory / "pytorch_model.bin").write_bytes(b"pickle")
    if sharded:
        tensors = load_file(directory / "model.safetensors")
        (directory / "model.safetensors").unlink()
        names = sorted(tensors)
        shards = {f"model-0000{n + 1}-of-00002.safetensors": names[n::2] for n in range(2)}
        for file, inside in shards.items():
            save_file({name: tensors[name].to(torch.bfloat16) for name in inside}, directory / file)
        table = {name: file for file, inside in shards.items() for name in inside}
        (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": table}))
    return directory


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    repositories = {
        "org/whole": write_repository(tmp_path / "whole"),
        "org/shards": write_repository(tmp_path / "shards", sharded=True),
    }
    with model_hub(monkeypatch, tmp_path / "hub", repositories) as found:
        yield found


def test_a_repository_is_fetched_once_without_what_nobody_reads(server: ModelHub, tmp_path: Path) -> None:
    heard = Heard()
    path = fetch_repository("org/whole", None, events=heard)
    assert path.name == COMMIT
    assert (path / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
    assert not (path / "pytorch_model.bin").exists()
    size = sum(file.stat().st_size for file in path.iterdir())
    assert (size, size, "bytes") in [each[:3] for each in heard.progressed]
    server.asked.clear()
    assert fetch_repository("org/whole", "v1", events=NullSink()) == path
    assert server.files_sent == []


def test_small_files_come_without_weights(server: ModelHub) -> None:
    path = fetch_small_files("org/whole", None)
    assert {file.name for file in path.iterdir()} == {
        "README.md", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert "model.safetensors" not in server.files_sent


@pytest.mark.parametrize("name", ["whole", "shards"])
def test_tensors_are_known_from_the_headers_alone(name: str, server: ModelHub, tmp_path: Path) -> None:
    assert remote_tensors(f"org/{name}", COMMIT) == read_tensor_table(tmp_path / name)


@pytest.mark.parametrize("first_bytes", [0, 100_000])
def test_a_connection_that_is_reset_is_no_defect_and_the_next_try_goes_on(
    first_bytes: int, server: ModelHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    server.cut["model.safetensors"] = first_bytes
    with pytest.raises(SourceError, match="org/whole cannot be fetched: ") as caught:
        fetch_repository("org/whole", None, events=NullSink())
    assert "kept" in caught.value.hint
    assert (
        find_repository("org/whole", "") is None
        or not (
            find_repository("org/whole", "") / "model.safetensors"  # type: ignore[operator]
        ).exists()
    )
    server.cut.clear()
    server.asked.clear()
    assert (fetch_repository("org/whole", None, events=NullSink()) / "model.safetensors").is_file()
    assert server.files_sent == ["model.safetensors"]


def test_a_hub_that_hangs_up_on_everybody_is_said(server: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    server.is_down = True
    for ask in (lambda: fetch_small_files("org/whole", None), lambda: remote_tensors("org/whole", COMMIT)):
        with pytest.raises(SourceError, match="org/whole cannot be fetched"):
            ask()


def test_a_hub_that_is_not_there_leaves_what_is_here(server: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch_repository("org/whole", None, events=NullSink())
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert fetch_repository("org/whole", None, events=NullSink()) == path
    with pytest.raises(SourceError, match="cannot be reached"):
        fetch_repository("org/shards", None, events=NullSink())


@pytest.mark.parametrize(
    ("name", "revision", "said"),
    [("org/absent", None, "no repository"), ("org/whole", "v9", "no revision 'v9'"), ("a/b/c", None, "no repository")],
)
def test_what_the_hub_does_not_have_is_said(name: str, revision: str | None, said: str, server: ModelHub) -> None:
    with pytest.raises(SourceError, match=said):
        fetch_small_files(name, revision)


def test_weights_that_are_no_safetensors_are_said(server: ModelHub, tmp_path: Path) -> None:
    (tmp_path / "whole" / "model.safetensors").write_bytes(b"\x08" + b"\0" * 7 + b"[broken]")
    with pytest.raises(SourceError, match="no whole safetensors weights"):
        remote_tensors("org/whole", COMMIT)
    (tmp_path / "whole" / "model.safetensors").unlink()
    with pytest.raises(SourceError, match="no whole safetensors weights"):
        remote_tensors("org/whole", COMMIT)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (LocalEntryNotFoundError("x"), "cannot be reached"),
        (HFValidationError("x"), "no repository"),
        (OSError("connection reset"), "connection reset"),
        (RuntimeError("Data processing error: CAS service error"), "CAS service error"),
    ],
)
def test_the_hubs_errors_become_ours(raised: Exception, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise raised

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(SourceError, match=said):
        fetch_repository("org/name", None, events=NullSink())


def test_finding_a_repository_asks_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def snapshot(name: str, **options: Any) -> str:
        asked.append(options)
        if name == "org/absent":
            raise LocalEntryNotFoundError("x")
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    assert find_repository("org/name", "") == tmp_path
    assert find_repository("org/absent", "v1") is None
    assert all(options["local_files_only"] for options in asked)
    assert [options["revision"] for options in asked] == [None, "v1"]


def test_only_model_files_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def snapshot(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    assert fetch_repository("org/name", "v1", events=NullSink()) == tmp_path
    assert asked["name"] == "org/name"
    assert asked["revision"] == "v1"
    assert "*.safetensors" in asked["allow_patterns"]
    assert not any(pattern.endswith((".bin", ".pth")) for pattern in asked["allow_patterns"])
