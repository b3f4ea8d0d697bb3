"""Models that several tests of this room read and none changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from spiritsafe.models.checkpoints.directory import write_lineage
from spiritsafe.models.sources.tiny import write_tiny


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2-layer byte-level Llama with lineage."""
    directory = tmp_path_factory.mktemp("tiny")
    write_tiny(directory, seed=7)
    write_lineage(directory, name="tiny-7", license="Apache-2.0")
    return directory


@pytest.fixture(scope="session")
def deep_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 6-layer one, narrower."""
    directory = tmp_path_factory.mktemp("deep")
    write_tiny(directory, seed=3, num_layers=6, hidden_size=64)
    write_lineage(directory, name="deep-3", license="MIT")
    return directory
