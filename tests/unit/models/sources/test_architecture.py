from __future__ import annotations

import json
from pathlib import Path

import pytest
from model_hub import model_hub
from published_configs import PUBLISHED
from stranger_models import write_mixtral, write_stranger

from spiritsafe.core.errors import SourceError
from spiritsafe.models import read_model_config, size_of
from spiritsafe.models.sources.architecture import architecture_config


def test_a_folder_needs_no_more_than_its_configuration_and_a_file_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(PUBLISHED["Llama-3-8B"]))
    (folder / "other.json").write_text(json.dumps(PUBLISHED["Llama-3-8B"]))
    for path, name in ((folder, "mine"), (folder / "config.json", "mine"), (folder / "other.json", "other")):
        assert architecture_config(str(path)) == (name, PUBLISHED["Llama-3-8B"])


@pytest.mark.parametrize("kind", ["mixtral", "gpt_neox"])
def test_the_size_without_weights_is_the_size_of_the_weights(kind: str, tmp_path: Path) -> None:
    directory = write_mixtral(tmp_path) if kind == "mixtral" else write_stranger(tmp_path, kind)
    whole = size_of(read_model_config(directory))
    for path in directory.glob("*.safetensors"):
        path.unlink()
    assert size_of(architecture_config(str(directory))[1]) == whole


def test_of_a_repository_one_file_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = write_mixtral(tmp_path / "published")
    with model_hub(monkeypatch, tmp_path / "hub", {"org/name": published}) as server:
        name, config = architecture_config("hf:org/name")
        assert [Path(file).name for file in server.files_sent] == ["config.json"]
    assert name == "org/name"
    assert size_of(config) == size_of(read_model_config(published))


def test_other_sources_are_asked_as_always(tmp_path: Path) -> None:
    name, config = architecture_config("tiny:0?layers=4", cache=tmp_path)
    assert (name, config["num_hidden_layers"]) == ("tiny-0-layers4", 4)


@pytest.mark.parametrize("make", ["empty", "word", "list", "unknown"])
def test_what_is_no_model_is_refused(make: str, tmp_path: Path) -> None:
    text = {"word": "no json", "list": "[]", "unknown": '{"model_type": "nosuch"}'}.get(make)
    path = tmp_path
    if text is not None:
        path = tmp_path / "x.json"
        path.write_text(text)
    with pytest.raises(SourceError) as caught:
        architecture_config(str(path))
    assert str(path) in caught.value.message  # and no folder of ours
