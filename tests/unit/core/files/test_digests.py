import hashlib
from pathlib import Path

import pytest

from spiritsafe.core.errors import SourceError
from spiritsafe.core.files.digests import digest_directory, digest_file, digest_model, file_model, is_routed


def test_digest_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "big"
    data = b"x" * (1 << 20) + b"tail"
    path.write_bytes(data)
    assert digest_file(path) == f"sha256:{hashlib.sha256(data).hexdigest()}"
    with pytest.raises(SourceError, match="cannot be read"):
        digest_file(tmp_path / "missing")


def test_digest_of_a_directory_sees_names_content_and_depth(tmp_path: Path) -> None:
    def tree(name: str, files: dict[str, str]) -> Path:
        for relative, text in files.items():
            path = tmp_path / name / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / name

    first = digest_directory(tree("a", {"x": "1", "sub/y": "2"}))
    assert digest_directory(tree("b", {"sub/y": "2", "x": "1"})) == first
    assert digest_directory(tree("c", {"x": "1", "sub/y": "3"})) != first
    assert digest_directory(tree("d", {"x": "1", "y": "2"})) != first
    extra = tree("e", {"x": "1", "sub/y": "2", "lineage.json": "{}"})
    assert digest_directory(extra) != first
    assert digest_directory(extra, exclude=["lineage.json"]) == first


def test_a_file_model_has_the_digest_of_its_file(tmp_path: Path) -> None:
    def tree(name: str, *files: str) -> Path:
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_text(file)
        return tmp_path / name

    one = tree("one", "x.gguf", "lineage.json")
    assert file_model(one) == one / "x.gguf"
    assert digest_model(one) == digest_model(tree("bare", "x.gguf")) == digest_file(one / "x.gguf")
    for name, files in {"two": ("x.gguf", "y.gguf"), "more": ("x.gguf", "config.json"), "other": ("x.bin",)}.items():
        directory = tree(name, *files, "lineage.json")
        assert file_model(directory) is None
        assert digest_model(directory) == digest_directory(directory, exclude=["lineage.json"])


def test_a_routed_system_has_the_digest_of_its_router_wherever_its_models_lie(tmp_path: Path) -> None:
    def tree(name: str, **files: str) -> Path:
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / f"{file}.json").write_text(text)
        return tmp_path / name

    one = tree("one", routed="r", places="p", lineage="l")
    assert is_routed(one)
    assert digest_model(one) == digest_file(one / "routed.json") == digest_model(tree("moved", routed="r", places="q"))
    assert digest_model(one) != digest_model(tree("other", routed="s", places="p", lineage="l"))
    # beside anything else it is a file like any: weights beside it would be part of no digest
    for name, files in {"more": {"routed": "r", "config": "c"}, "none": {"places": "p"}, "empty": {}}.items():
        directory = tree(name, **files)
        assert not is_routed(directory)
        assert digest_model(directory) == digest_directory(directory, exclude=["lineage.json"])
    assert not is_routed(tmp_path / "nowhere")
