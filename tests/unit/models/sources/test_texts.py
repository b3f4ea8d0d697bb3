"""Licence texts beside weights: found where makers put them, and nothing else of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from spiritsafe.models.sources import texts
from spiritsafe.models.sources.texts import source_texts


def test_texts_of_a_directory_and_nothing_that_a_link_leads_to(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (tmp_path / "id_rsa").write_text("secret")
    for name in ("LICENSE", "licence.md", "Notice.txt", "README.md", "licenses.json"):
        (model / name).write_text(name)
    (model / "NOTICE").symlink_to(tmp_path / "id_rsa")
    (model / "license.txt").symlink_to("LICENSE")
    (model / "LICENCE").mkdir()
    assert {path.name for path in source_texts(str(model))} == {"LICENSE", "licence.md", "Notice.txt", "license.txt"}
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    for source in (str(tmp_path / "model.gguf"), f"gguf:{tmp_path}/model.gguf", "tiny:0", str(tmp_path / "absent")):
        assert source_texts(source) == ()


def test_texts_of_a_repository_are_links_to_the_caches_blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "hub" / "models--a--b" / "snapshots" / "0123"
    blobs = tmp_path / "hub" / "models--a--b" / "blobs"
    for folder in (snapshot, blobs):
        folder.mkdir(parents=True)
    (blobs / "1").write_text("terms")
    (tmp_path / "secret").write_text("secret")
    (snapshot / "LICENSE").symlink_to("../../blobs/1")
    (snapshot / "NOTICE").symlink_to(tmp_path / "secret")
    monkeypatch.setattr(texts, "find_repository", lambda name, revision: snapshot if name == "a/b" else None)
    assert source_texts("hf:a/b@main") == (snapshot / "LICENSE",)
    assert source_texts("hf:a/c") == ()
