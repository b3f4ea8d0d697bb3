from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType
from llama_cpp import llama_blocks, needs_llama_cpp

from spiritsafe.models.gguf.blocks.packed import to_blocks
from spiritsafe.models.gguf.types import stored_bytes

KINDS = [GGMLQuantizationType[name] for name in ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q6_K")]


def rows() -> np.ndarray:
    """Rows of every kind: of weights, with outliers, sparse, tiny enough for scales to vanish, and nothing at all."""
    draw = np.random.default_rng(3)
    made = [draw.standard_normal((40, 512)) * 0.02, draw.standard_t(2, (40, 512)), np.zeros((2, 512))]
    made += [np.where(draw.random((20, 512)) < 0.9, 0, draw.standard_normal((20, 512))) * scale for scale in (1, 1e-6)]
    made += [np.full((1, 512), -3.0), draw.standard_normal((5, 512)) * 1e-16]
    return np.concatenate(made).astype(np.float32)


@needs_llama_cpp
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_blocks_are_those_of_llama_cpp_to_the_bit(kind: GGMLQuantizationType) -> None:
    values = rows()
    ours = to_blocks(values, kind)
    theirs = llama_blocks(values, int(kind), stored_bytes(values.shape, kind))
    assert np.array_equal(ours, theirs)


def test_six_bits_are_read_back_near_by_the_gguf_library() -> None:
    values = rows()[:80]
    raw = to_blocks(values, GGMLQuantizationType.Q6_K).reshape(len(values), -1)
    read = gguf.dequantize(raw, GGMLQuantizationType.Q6_K)
    groups, errors = values.reshape(-1, 16), (read - values).reshape(-1, 16)
    # 32 levels on either side of zero: half a step of a group's range, and what rounding the group's scale to one of
    # 128 parts of its block's widest scale costs.
    widest = np.abs(values).reshape(-1, 16, 16).max((1, 2)).repeat(16)
    allowed = np.abs(groups).max(1) / 62 + widest / 128
    assert (np.abs(errors).max(1) <= allowed).all()


def test_rows_of_many_chunks_are_the_rows_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    values = rows()
    whole = to_blocks(values, GGMLQuantizationType.Q6_K)
    monkeypatch.setattr("spiritsafe.models.gguf.blocks.packed._CHUNK_NUMBERS", 1024)
    assert np.array_equal(to_blocks(values, GGMLQuantizationType.Q6_K), whole)


def test_sixteen_bits_round_to_even() -> None:
    values = np.array([[1.0, 1 + 2**-11, 1 + 3 * 2**-11, -(1 + 2**-9)]], np.float32)
    half = to_blocks(values, GGMLQuantizationType.F16).view(np.float16)
    assert half.tolist() == [1.0, 1.0, 1 + 2**-9, -(1 + 2**-9)]
    brain = to_blocks(values, GGMLQuantizationType.BF16).view(np.uint16)
    assert brain.tolist() == [0x3F80, 0x3F80, 0x3F80, 0xBF80]
