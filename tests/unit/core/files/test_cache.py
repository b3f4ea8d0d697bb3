from __future__ import annotations

from pathlib import Path

import pytest

from spiritsafe.core.files.cache import default_cache
from spiritsafe.models.sources.resolve import resolve_source


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SPIRITSAFE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "spiritsafe"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "spiritsafe"
    monkeypatch.setenv("SPIRITSAFE_CACHE", str(tmp_path / "c"))
    assert resolve_source("tiny:0") == tmp_path / "c" / "models" / "tiny-0-v1"
