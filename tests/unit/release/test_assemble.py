"""Writing a release: whole or not at all, never over something, and only what verifies."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from release_parts import DIRECTORY, FILES, ReleaseParts, make_release

from spiritsafe.core.errors import IntegrityError, SourceError, StorageError
from spiritsafe.release import ReleasePlan, assemble, verify_release, write_release


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> ReleaseParts:
    return make_release(tmp_path_factory.mktemp("parts"))


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_are_linked_and_a_ledger_that_grows_is_copied(tmp_path: Path, parts: ReleaseParts) -> None:
    target = tmp_path / "deep" / "out"
    record = write_release(target, parts.plan, parts.key)
    source = parts.plan.sources["toy-q8_0.gguf"]
    assert isinstance(source, Path)
    assert source.samefile(target / "toy-q8_0.gguf")
    assert not parts.stage.ledger.path.samefile(target / "exams/ledger.jsonl")
    assert [file.num_bytes for file in record.files] == [
        *(len(data) for data in FILES.values()),
        sum(map(len, DIRECTORY.values())),
    ]
    assert [file.is_dominated for file in record.files] == [False, False, True]
    assert leftovers(target.parent) == ["out"]
    assert all(step.ok for step in verify_release(target))


def test_where_nothing_can_be_linked_it_is_copied(
    tmp_path: Path, parts: ReleaseParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(assemble.os, "link", refuse)
    (tmp_path / "out").mkdir()  # empty: that is a place
    write_release(tmp_path / "out", parts.plan, parts.key)
    assert (tmp_path / "out" / "toy-q8_0.gguf").stat().st_nlink == 1


def test_the_top_may_be_a_hugging_face_directory(tmp_path: Path, parts: ReleaseParts) -> None:
    files = [*parts.plan.release.to_json()["files"][:2], {**parts.plan.release.to_json()["files"][2], "path": "."}]
    plan = parts.changed(files=files)
    sources = {path.removeprefix("hf/"): source for path, source in plan.sources.items()}
    write_release(tmp_path / "out", dataclasses.replace(plan, sources=sources), parts.key)
    assert (tmp_path / "out" / "config.json").read_bytes() == DIRECTORY["config.json"]
    assert 'pipeline("text-generation", ".")' in (tmp_path / "out" / "README.md").read_text("utf-8")


@pytest.mark.parametrize("path", ["adapter_config.json", "chat_template.jinja", "additional_chat_templates/tool.jinja"])
def test_nothing_that_loaders_would_take_lies_beside_what_sat_the_exam(
    tmp_path: Path, parts: ReleaseParts, path: str
) -> None:
    """transformers folds an adapter in and takes a template by their names alone, and no certificate is of them."""
    value = parts.plan.release.to_json()
    for folder, inside in ((".", ""), ("hf", "hf/")):
        files = [*value["files"][:2], {**value["files"][2], "path": folder}]
        plan = parts.changed(files=files, others=[*value["others"], f"{inside}{path}"])
        sources = {(one.removeprefix("hf/") if folder == "." else one): source for one, source in plan.sources.items()}
        with pytest.raises(IntegrityError, match=f"would load more than sat its exams: {inside}{path}"):
            write_release(
                tmp_path / "out", dataclasses.replace(plan, sources={**sources, f"{inside}{path}": b"{}"}), parts.key
            )


@pytest.mark.parametrize("kind", ["full", "file", "link"])
def test_nothing_is_replaced(tmp_path: Path, parts: ReleaseParts, kind: str) -> None:
    target = tmp_path / "out"
    if kind == "full":
        target.mkdir()
        (target / "mine").write_text("mine")
    elif kind == "file":
        target.write_text("mine")
    else:
        (tmp_path / "elsewhere").mkdir()
        target.symlink_to(tmp_path / "elsewhere")
    before = leftovers(tmp_path)
    with pytest.raises(StorageError, match="is there already"):
        write_release(target, parts.plan, parts.key)
    assert leftovers(tmp_path) == before


def _swapped(parts: ReleaseParts) -> ReleasePlan:
    return parts.changed({"toy-q8_0.gguf": b"GGUF other bytes"})


def _without_copy(parts: ReleaseParts) -> ReleasePlan:
    return parts.changed(texts=["LICENSE", "NOTICE"], others=["licences/llama3.2.txt"])


@pytest.mark.parametrize(
    ("plan", "kind", "words"),
    [
        (_swapped, IntegrityError, r"toy-q8_0\.gguf: the digest is sha256:\w+, and the record has"),
        (lambda parts: parts.changed({"LICENSE": b"\xff"}), SourceError, "LICENSE is no UTF-8"),
        (lambda parts: parts.changed({"LICENSE": Path("/missing")}), SourceError, "/missing cannot be read"),
        (_without_copy, IntegrityError, r"Step 8 \(duties\) failed: There is no copy of 'Llama 3.2 Community License'"),
        (lambda parts: parts.changed(name="Toy"), IntegrityError, "does not begin with 'Llama'"),
        (lambda parts: parts.changed({"NOTICE": b"nothing\n"}), IntegrityError, "NOTICE does not hold"),
        (lambda parts: parts.changed({"hf/config.json": Path("/missing")}), SourceError, "is no file"),
        (lambda parts: parts.changed({"../x": b""}), SourceError, "no name for a file"),
        (lambda parts: parts.changed({"release.json": b"{}"}), SourceError, "called release.json"),
        (lambda parts: parts.changed(recipe_file="recipe.toml"), SourceError, "names recipe.toml"),
        (lambda parts: parts.changed({"stray.txt": b"x"}), IntegrityError, "does not name stray.txt"),
        (
            lambda parts: parts.changed({"exams/sums/toy.certificate.json": b"{}"}),
            IntegrityError,
            "Not a valid Certificate",
        ),
    ],
)
def test_what_is_wrong_is_not_written(tmp_path: Path, parts: ReleaseParts, plan: Any, kind: Any, words: str) -> None:
    with pytest.raises(kind, match=words):
        write_release(tmp_path / "out", plan(parts), parts.key)
    assert leftovers(tmp_path) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path, parts: ReleaseParts, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(assemble.shutil, "copyfile", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        write_release(tmp_path / "out", parts.plan, parts.key)
    assert "free some space" in caught.value.hint
    assert os.listdir(tmp_path) == []
