"""Pushing to the hub, with its real client against a hub on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from upload_hub import UploadHub, upload_hub

from spiritsafe.core.errors import EndpointError, IntegrityError, RecipeError
from spiritsafe.release import plan_push, push, push_release, verify_release, write_release

NAME = "ada/Llama-toy"
# huggingface_hub 2.4 gives httpx bytes as `data`: https://github.com/huggingface/huggingface_hub/blob/main/src/huggingface_hub/lfs.py
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadHub]:
    with upload_hub(monkeypatch) as one:
        yield one


def test_a_release_arrives_whole_and_verifies_as_it_comes_back(released: Any, hub: UploadHub, tmp_path: Path) -> None:
    assert push_release(released.directory, NAME).startswith(f"{hub.url}/{NAME}/commit/")
    held = hub.repositories[NAME]
    for path in (one for one in released.directory.rglob("*") if one.is_file()):
        assert held[path.relative_to(released.directory).as_posix()] == path.read_bytes()
    assert hub.commits[NAME] == 2  # the one that makes the repository, and one of ours
    assert len([one for one in hub.asked if "/upload/" in one]) == 3
    for path, data in held.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    steps = verify_release(tmp_path)
    assert all(step.ok for step in steps)
    assert "not looked at, as downloads write it: .gitattributes" in steps[1].detail


def test_nothing_is_written_by_a_plan(released: Any, hub: UploadHub) -> None:
    plan = plan_push(released.directory, NAME)
    assert (plan.repository, plan.stale, plan.parent) == (NAME, (), None)
    assert plan.files["toy-q8_0.gguf"] == 2052
    assert {one.partition(" ")[0] for one in hub.asked} == {"GET"}


def test_the_next_version_replaces_the_one_before(released: Any, hub: UploadHub, tmp_path: Path) -> None:
    push_release(released.directory, NAME, private=True)
    assert hub.private[NAME]
    parts = released.parts
    plan = parts.changed(
        {"notes.txt": b"new\n"}, version="1.1", others=["notes.txt"], texts=["LICENSE", "NOTICE", "terms.txt"],
        duties=[{**one, "path": "terms.txt" if one["path"] else None} for one in released.record.to_json()["duties"]],
    )  # fmt: skip
    sources = {("terms.txt" if path == "licences/llama3.2.txt" else path): one for path, one in plan.sources.items()}
    write_release(tmp_path / "next", type(plan)(release=plan.release, sources=sources), parts.key)
    assert plan_push(tmp_path / "next", NAME).stale == ("licences/llama3.2.txt",)
    push_release(tmp_path / "next", NAME)
    assert "licences/llama3.2.txt" not in hub.repositories[NAME]
    assert hub.repositories[NAME]["notes.txt"] == b"new\n"


def test_files_of_others_are_not_deleted(released: Any, hub: UploadHub) -> None:
    hub.repositories[NAME], hub.commits[NAME] = {"thesis.tex": b"x"}, 1
    with pytest.raises(RecipeError, match=r"holds 1 files that are not of a release: thesis\.tex"):
        push_release(released.directory, NAME)
    assert hub.repositories[NAME] == {"thesis.tex": b"x"}


def test_what_does_not_verify_is_not_pushed(released: Any, hub: UploadHub, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(released.directory, tmp_path / "copy"))
    (copy / "LICENSE").write_text("mine")
    for directory, name, error, words in (
        (copy, NAME, IntegrityError, "LICENSE"),
        (released.directory, "Llama-toy", RecipeError, "no repository"),
        (released.directory, "ada/../x", RecipeError, "no repository"),
        (released.directory, "ada/toy", RecipeError, f"published as {NAME}, not ada/toy"),
    ):
        with pytest.raises(error, match=words):
            push_release(directory, name)
    assert hub.asked == []


def test_a_repositorys_name_that_breaks_a_duty(released: Any, hub: UploadHub, tmp_path: Path) -> None:
    parts = released.parts
    write_release(tmp_path / "out", parts.changed(repository=None), parts.key)
    with pytest.raises(RecipeError, match="The name toy does not begin with 'Llama'"):
        push_release(tmp_path / "out", "ada/toy")
    assert push_release(tmp_path / "out", "ada/Llama-4-you")


@pytest.mark.parametrize(
    ("place", "fault", "words"),
    [
        ("GET /api/models", 401, "does not accept the token"),
        ("POST /api/repos/create", 403, "does not let this token write"),
        ("POST /api/models/ada/Llama-toy/commit", 409, "was changed by somebody else meanwhile"),
        ("POST /api/models/ada/Llama-toy/commit", 412, "was changed by somebody else meanwhile"),
        ("POST /ada/Llama-toy.git/info/lfs", 403, "does not let this token write"),
        ("PUT /upload", 413, "takes no files of this size"),
        ("POST /api/models/ada/Llama-toy/preupload", 500, "cannot be written: "),
        ("GET /api/models", "drop", "cannot be written: "),
        ("POST /api/models/ada/Llama-toy/commit", "drop", "cannot be written: "),
    ],
)
def test_what_the_hub_says_is_told(released: Any, hub: UploadHub, place: str, fault: Any, words: str) -> None:
    hub.faults[place] = fault
    with pytest.raises(EndpointError, match=f"^{NAME} {words}") as caught:
        push_release(released.directory, NAME)
    assert caught.value.hint
    assert "release.json" not in hub.repositories.get(NAME, {})


def test_no_token_and_a_wrong_one(released: Any, hub: UploadHub) -> None:
    with pytest.raises(EndpointError, match="does not accept the token") as caught:
        push_release(released.directory, NAME, token="hf_wrong")
    assert "HF_TOKEN" in caught.value.hint
    assert hub.repositories == {}


def test_a_silent_hub(released: Any, hub: UploadHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "_SILENCE_S", 0.5)
    hub.faults["POST /api/repos/create"] = "silent"
    with pytest.raises(EndpointError, match=r"cannot be written: .*timed out"):
        push_release(released.directory, NAME)
    assert huggingface_hub.get_session().timeout != push._SILENCE_S


@pytest.mark.parametrize("path", ["toy-q8_0.gguf", "README.md"])
def test_other_bytes_that_arrived_are_noticed(released: Any, hub: UploadHub, path: str) -> None:
    hub.spoil = path
    with pytest.raises(IntegrityError, match=f"does not hold what was pushed: {path}"):
        push_release(released.directory, NAME)
