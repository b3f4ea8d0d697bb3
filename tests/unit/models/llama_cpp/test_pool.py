from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from llama_cpp import llama_children
from tiny_gguf import write_gguf

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.llama_cpp.pool import LlamaPool

pytest.importorskip("llama_cpp_py_sync", reason="the gguf extra is not installed")


def test_one_waits_and_comes_back_empty_and_large_enough(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf")
    pool = LlamaPool(tmp_path / "x.gguf")
    first = pool.take(context=100, num_sequences=2)
    beside = pool.take(context=10, num_sequences=1)
    first.decode([1, 2], [0, 1], [1, 1], [])
    assert first.pid != beside.pid
    pid = first.pid
    pool.give_back(first)
    pool.give_back(beside)
    assert not beside.is_alive, "one that waits is enough"
    again = pool.take(context=300, num_sequences=2)
    assert again.pid == pid
    again.decode([1, 2], [0, 1], [1, 1], [])
    pool.give_back(again)
    again = pool.take(context=300, num_sequences=2)
    again.decode([1, 2], [0, 1], [1, 1], [])  # refused if the sequence still held something
    pool.give_back(again)
    assert pool.peak_bytes() > 1 << 20
    assert [child.pid for child in llama_children(tmp_path / "x.gguf")] == [pid]
    pool.close()
    assert llama_children(tmp_path / "x.gguf") == []


def test_the_dead_are_replaced_and_late_returns_end(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf")
    pool = LlamaPool(tmp_path / "x.gguf")
    process = pool.take(context=10, num_sequences=1)
    pool.give_back(process)
    pid = process.pid
    os.kill(pid, signal.SIGKILL)
    process = pool.take(context=10, num_sequences=1)
    assert process.pid != pid
    os.kill(process.pid, signal.SIGKILL)
    pool.give_back(process)
    process = pool.take(context=10, num_sequences=1)
    pool.close()
    pool.give_back(process)
    assert llama_children(tmp_path / "x.gguf") == []


def test_a_process_that_dies_while_it_loads_is_the_files_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gguf(tmp_path / "x.gguf")
    monkeypatch.setattr("spiritsafe.models.llama_cpp.process._CHILD", "spiritsafe.no_such_module")
    with pytest.raises(CompatibilityError, match=r"(?s)x\.gguf.*no_such_module"):
        LlamaPool(tmp_path / "x.gguf").take(context=10, num_sequences=1)
