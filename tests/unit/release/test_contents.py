"""The record of a release: it hangs together, and its paths stay inside."""

from __future__ import annotations

from typing import Any

import pytest

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.files.digests import digest_directory
from spiritsafe.release import Release
from spiritsafe.release.contents import digest_of_parts, is_release_path


def test_it_names_each_file_once(released: Any) -> None:
    paths = list(released.record.named_paths())
    assert len(paths) == len(set(paths))
    assert {"toy-q8_0.gguf", "hf/model.safetensors", "exams/ledger.jsonl", "NOTICE", "toy-q4_0.Modelfile"} <= set(paths)
    assert Release.from_json(released.record.to_json()) == released.record


def test_a_folder_has_the_digest_that_a_checkpoint_has(released: Any) -> None:
    file = released.record.files[2]
    assert file.digest == digest_directory(released.directory / "hf")
    assert digest_of_parts([]) != file.digest


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "a/../b", "a//b", ".hidden", "a/.b", "a b", "a\n", "C:\\x", "", "é", "a" * 256, "a/"],
)
def test_a_path_stays_inside(released: Any, path: str) -> None:
    assert not is_release_path(path)
    with pytest.raises(IntegrityError, match="recipe_file"):
        Release.from_json({**released.record.to_json(), "recipe_file": path})


def _files(value: dict[str, Any], **change: Any) -> list[Any]:
    return [{**value["files"][0], **change}, *value["files"][1:]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: {"files": _files(v, path="TOY-Q4_0.gguf")}, "two files"),
        (lambda v: {"files": _files(v, certificates=v["files"][1]["certificates"])}, "two certificates"),
        (lambda v: {"others": [*v["others"], "notice"]}, "two files"),
        (lambda v: {"others": [*v["others"], "Model.sig"]}, "two files"),
        (lambda v: {"exams": v["exams"] * 2}, "two exams"),
        (lambda v: {"exams": []}, "no exam is called 'sums'"),
        (lambda v: {"lineage": v["lineage"][1:]}, "no lineage of sha256:"),
        (lambda v: {"texts": ["NOTICE"]}, "LICENSE is missing"),
        (lambda v: {"files": _files(v, path=".")}, "parts"),
        (lambda v: {"files": []}, "files"),
        (lambda v: {"name": "../x"}, "name"),
        (lambda v: {"base_models": ["a/b/c"]}, "base_models"),
        (lambda v: {"zzz": 1}, "zzz"),
    ],
)
def test_what_does_not_hang_together_is_refused(released: Any, change: Any, words: str) -> None:
    value = released.record.to_json()
    with pytest.raises(IntegrityError, match=words):
        Release.from_json({**value, **change(value)})
