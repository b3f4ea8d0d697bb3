from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_gguf import SPECIAL, write_gguf

from spiritsafe.core.errors import (
    BudgetError,
    CompatibilityError,
    EndpointError,
    ProcedureError,
    SourceError,
    SpiritsafeError,
)
from spiritsafe.models.gguf.convert import convert_gguf
from spiritsafe.models.interface.batch import Document, pack_documents
from spiritsafe.models.llama_cpp.process import LlamaProcess, chunks
from spiritsafe.models.transformers_backend.loading import load_decoder

pytest.importorskip("llama_cpp_py_sync", reason="the gguf extra is not installed")


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_logits_are_the_decoders(architecture: str, tmp_path: Path) -> None:
    extra = {"qwen3.attention.key_length": 16} if architecture == "qwen3" else {}
    write_gguf(tmp_path / "x.gguf", architecture=architecture, kind="F32", extra=extra)
    (tmp_path / "model").mkdir()
    convert_gguf(tmp_path / "x.gguf", tmp_path / "model")
    decoder = load_decoder(tmp_path / "model", dtype=torch.float32)
    ids = tuple((7 * i) % 250 for i in range(65))  # one token more than rows of logits
    batch = pack_documents([Document(token_ids=ids, supervised=(False,) * len(ids))])
    with torch.no_grad():
        expected = decoder.logits(decoder(batch)).numpy()
    with LlamaProcess(tmp_path / "x.gguf", context=65) as process:
        assert process.facts.vocab_size == expected.shape[1]
        assert process.facts.commit
        found = process.logits(ids)
        assert np.abs(found - expected).max() < 1e-4
        assert np.array_equal(found[:20], process.logits(ids[:20])), "nothing of an earlier text is left"
        assert process.peak_bytes() > 1 << 20
        with pytest.raises(CompatibilityError, match="66 tokens"):
            process.logits((*ids, 1))


def test_a_sequence_does_not_depend_on_its_neighbours_and_can_be_copied(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf", kind="Q8_0")
    ids, other = [(7 * i) % 250 for i in range(40)], [(11 * i) % 250 for i in range(40)]
    with LlamaProcess(tmp_path / "x.gguf", context=64, num_sequences=4) as process:
        process.decode(ids[:-1], range(39), [0] * 39, [])
        alone = process.decode(ids[-1:], [39], [0], [0])[0].copy()
        process.decode(other[:-1], range(39), [1] * 39, [])
        process.decode(ids[:30], range(30), [2] * 30, [])
        process.copy(2, [3], 20)
        process.decode(ids[20:-1], range(20, 39), [3] * 19, [])
        process.copy(0, [0], 39)
        rows = process.decode([other[-1], ids[-1], ids[-1]], [39, 39, 39], [1, 3, 0], [1, 2, 0])
        assert np.array_equal(rows[0], alone)
        assert np.array_equal(rows[1], alone)
        assert not np.array_equal(rows[2], alone)
        process.resize(context=16, num_sequences=70)
        rows = process.decode(range(70), [0] * 70, range(70), range(70))
        assert rows.shape[0] == 70
        assert np.isfinite(rows).all()


def test_keys_and_values_are_rounded_only_where_that_is_asked(tmp_path: Path) -> None:
    """And their sequences stay apart all the same."""
    write_gguf(tmp_path / "x.gguf", kind="F32")
    ids, other = [(7 * i) % 250 for i in range(40)], [(11 * i) % 250 for i in range(40)]
    with LlamaProcess(tmp_path / "x.gguf", context=64) as process:
        exact = process.logits(tuple(ids)).copy()
    with LlamaProcess(tmp_path / "x.gguf", context=64, num_sequences=2, rounded=True) as process:
        off = np.abs(process.logits(tuple(ids)) - exact).max()
        assert 1e-6 < off < 0.02 * np.abs(exact).max()
        process.decode(other, range(40), [1] * 40, [])
        process.copy(0, [0], 0)
        process.decode(ids[:-1], range(39), [0] * 39, [])
        assert np.abs(process.decode(ids[-1:], [39], [0], [0])[0] - exact[-1]).max() < 0.02 * np.abs(exact).max()


def test_special_tokens_are_read_only_where_they_are_wanted(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf")
    with LlamaProcess(tmp_path / "x.gguf") as process:
        assert process.tokenize(SPECIAL[2], special=True) == [2]
        plain = process.tokenize(SPECIAL[2], special=False)
        assert 2 not in plain
        assert len(plain) > 1
        assert process.tokenize("", special=False) == []


def test_what_is_no_file_of_a_model_is_told_in_llama_cpps_words(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUX" + bytes(100))
    with pytest.raises(SourceError, match="magic"):
        LlamaProcess(tmp_path / "x.gguf")
    write_gguf(tmp_path / "y.gguf")
    whole = (tmp_path / "y.gguf").read_bytes()
    (tmp_path / "y.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"cannot load .*y\.gguf"):
        LlamaProcess(tmp_path / "y.gguf")


def test_a_crash_is_an_error_here_and_not_a_crash(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf")
    with LlamaProcess(tmp_path / "x.gguf", context=256) as process:
        for tokens, sequence, what in (([10**6], 0, "status"), ([1], 7, "sequence"), ([1] * 257, 0, "longer")):
            count = len(tokens)
            with pytest.raises(SpiritsafeError, match=what):  # where llama.cpp itself may end the process
                process.decode(tokens, range(count), [sequence] * count, [0])
        process.decode([1] * 256, range(256), [0] * 256, [])
        with pytest.raises(BudgetError, match="longer"):
            process.decode([1], [256], [0], [0])
        assert process.is_alive
        os.kill(process.pid, signal.SIGSEGV)
        with pytest.raises(EndpointError, match="SIGSEGV"):
            process.logits([1, 2, 3])
        assert not process.is_alive
        with pytest.raises(ProcedureError):
            process.tokenize("x", special=False)


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp_py_sync", None)
    with pytest.raises(CompatibilityError, match="not installed") as told:
        LlamaProcess(tmp_path / "x.gguf")
    assert "spiritsafe[gguf]" in told.value.hint


def test_no_run_of_tokens_has_a_single_one() -> None:
    for length in range(2, 40):
        cut = chunks(length, 5)
        assert [start for start, _ in cut] == [0, *(end for _, end in cut[:-1])]
        assert cut[-1][1] == length
        assert all(2 <= end - start <= 5 for start, end in cut)
    assert chunks(1, 5) == [(0, 1)]
    assert chunks(0, 5) == []
