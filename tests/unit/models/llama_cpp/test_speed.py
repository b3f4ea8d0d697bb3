"""What running a file takes; numbers are this machine's, so that only what must hold is held."""

from __future__ import annotations

from pathlib import Path

from spiritsafe.models import measure_speed, resolve_source, write_gguf


def test_memory_holds_the_weights_and_a_short_context_is_no_obstacle(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    write_gguf(resolve_source("tiny:0?context=64"), file, "f32")
    found = measure_speed(file, num_tokens=8)
    assert found.context == 64
    assert found.memory_bytes > file.stat().st_size
    assert found.tokens_per_s > 0.0
