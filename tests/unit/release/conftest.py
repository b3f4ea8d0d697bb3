"""A release, written once; tests that change something take a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from release_parts import ReleaseParts, make_release

from spiritsafe.release import Release, write_release


@dataclass
class Released:
    """What it was made of, where it lies, its record."""

    parts: ReleaseParts
    directory: Path
    record: Release


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    root = tmp_path_factory.mktemp("release")
    parts = make_release(root / "parts")
    return Released(parts, root / "out", write_release(root / "out", parts.plan, parts.key))


@pytest.fixture
def copied(released: Released, tmp_path: Path) -> Callable[[], Path]:
    """Gives a copy."""

    def copy() -> Path:
        return Path(shutil.copytree(released.directory, tmp_path / "copy"))

    return copy
