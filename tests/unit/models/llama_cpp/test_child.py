from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_gguf import write_gguf

from spiritsafe.core.process.environment import child_environment

pytest.importorskip("llama_cpp_py_sync", reason="the gguf extra is not installed")


def test_the_protocol_owns_the_output_and_the_end_of_input_ends_it(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf")
    (tmp_path / "rows").touch()
    command = [sys.executable, "-m", "spiritsafe.models.llama_cpp.child", tmp_path / "x.gguf", tmp_path / "rows"]
    lines = [
        '{"op": "describe"}',
        "no json",
        '{"op": "dance"}',
        '{"op": "clear"}',
        '{"op": "copy", "source": 9, "targets": [0], "length": 1}',
        '{"op": "peak"}',
    ]
    done = subprocess.run(
        command, input="\n".join(lines) + "\n", capture_output=True, text=True, env=child_environment(), timeout=100
    )
    assert done.returncode == 0
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers[0]["vocab_size"] > 250
    assert [answer["error"]["type"] for answer in answers[1:5]] == [
        "JSONDecodeError",
        "IntegrityError",
        "TypeError",
        "IntegrityError",
    ]
    assert answers[5]["bytes"] > 1 << 20
    assert (tmp_path / "rows").stat().st_size == 4 * answers[0]["rows"] * answers[0]["vocab_size"]


def test_it_needs_neither_torch_nor_transformers() -> None:
    code = "import sys, spiritsafe.models.llama_cpp.child; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.strip() == "set()"
