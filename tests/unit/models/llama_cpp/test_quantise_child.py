from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tiny_gguf
from llama_cpp import llama_quantise, needs_llama_cpp

pytestmark = needs_llama_cpp
COMMAND = [sys.executable, "-m", "spiritsafe.models.llama_cpp.quantise_child"]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in {"HIDDEN": 256, "INNER": 512, "WIDTH": 64}.items():
        monkeypatch.setattr(tiny_gguf, name, value)
    tiny_gguf.write_gguf(tmp_path / "f32.gguf", kind="F32")
    return tmp_path / "f32.gguf"


def request(source: Path, target: Path, name: str, importance: Path | None = None) -> dict[str, Any]:
    number = gguf.LlamaFileType[f"MOSTLY_{name}"].value
    given = None if importance is None else str(importance)
    return {"source": str(source), "target": str(target), "file_type": number, "threads": 1, "importance": given}


def test_importance_reaches_llama_cpp_as_another_binding_hands_it_over(source: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    weights = {
        tensor.name: draw.exponential(size=(1, int(tensor.shape[0]))).astype(np.float32)
        for tensor in gguf.GGUFReader(source).tensors
        if len(tensor.shape) > 1
    }
    np.savez(tmp_path / "importance.npz", **weights)
    asked = request(source, tmp_path / "ours", "IQ4_NL", tmp_path / "importance.npz")
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(asked).encode() + b"\n")
        child.stdin.flush()
        said = child.stdout.read()
    assert json.loads(said) == {"code": 0}  # and nothing else: llama.cpp prints elsewhere
    np.savez(tmp_path / "flat.npz", **{name: values.reshape(-1) for name, values in weights.items()})
    assert llama_quantise(source, tmp_path / "theirs", asked["file_type"], importance=tmp_path / "flat.npz")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert llama_quantise(source, tmp_path / "plain", asked["file_type"])
    assert (tmp_path / "plain").read_bytes() != (tmp_path / "ours").read_bytes()


def test_it_ends_with_whoever_asked(source: Path, tmp_path: Path) -> None:
    line = json.dumps(request(source, tmp_path / "out", "IQ3_S")).encode() + b"\n"  # some seconds of work
    done = subprocess.run(COMMAND, input=line, capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
