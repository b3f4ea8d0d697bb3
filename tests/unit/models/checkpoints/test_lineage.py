from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.models.checkpoints.lineage import LINEAGE, read_checkpoint, verify_checkpoint


def test_a_changed_file_is_noticed(tmp_path: Path, deep_directory: Path) -> None:
    for file in deep_directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert verify_checkpoint(tmp_path).name == "deep-3"
    data = bytearray((tmp_path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(IntegrityError, match="is not what its"):
        verify_checkpoint(tmp_path)


def test_bad_lineage_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=LINEAGE):
        read_checkpoint(tmp_path)
    (tmp_path / LINEAGE).write_text(json.dumps({"name": "x"}))
    with pytest.raises(IntegrityError, match="Checkpoint"):
        read_checkpoint(tmp_path)


def test_a_lineage_is_read_without_torch() -> None:
    code = "import sys, spiritsafe.models.checkpoints.lineage; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
