from __future__ import annotations

import math
from typing import Any

import pytest
from cut_parts import teacher_config

from spiritsafe.core.errors import BudgetError, CompatibilityError
from spiritsafe.models.cost.footprint import Quantisation, layers_within, predict_footprint
from spiritsafe.models.pruning.cut import StudentShape, resized
from spiritsafe.models.pruning.shapes import candidates

SMOLLM2: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
}
QWEN3: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
}


def total(config: dict[str, Any], shape: StudentShape, quantisation: Quantisation, context: int = 0) -> int:
    return predict_footprint(resized(config, shape), quantisation, context=context).total_bytes


@pytest.mark.parametrize("config", [SMOLLM2, QWEN3])
@pytest.mark.parametrize(("quantisation", "share"), [("bf16", 0.85), ("q4_k_m", 0.7), ("q8_0", 0.5)])
def test_all_fit_are_aligned_and_none_contains_another(
    config: dict[str, Any], quantisation: Quantisation, share: float
) -> None:
    whole = StudentShape.of(config)
    budget = int(share * total(config, whole, quantisation, 2048))
    found = candidates(config, budget, quantisation=quantisation, context=2048)
    assert 2 <= len(found) == len(set(found)) <= 6
    for shape in found:
        assert total(config, shape, quantisation, 2048) <= budget
        assert shape.hidden_size % 32 == shape.intermediate_size % 32 == 0
        assert (shape.num_kv_heads, shape.vocab_size) == (whole.num_kv_heads, whole.vocab_size)
    depth = layers_within(config, budget, quantisation, context=2048)
    assert found[0] == whole.model_copy(update={"num_layers": depth})
    for shape in found[1:]:
        for axis in ("num_layers", "hidden_size", "intermediate_size"):
            assert getattr(shape, axis) >= math.floor(getattr(whole, axis) * (1 / 2 if share == 0.5 else 2 / 3))
        assert not any(contains(other, shape) for other in found if other != shape)
    assert any(s.num_layers < whole.num_layers and s.hidden_size < whole.hidden_size for s in found)
    if share > 0.5:
        assert len(found) == 6
        assert any(s.num_layers == whole.num_layers for s in found)


def contains(large: StudentShape, small: StudentShape) -> bool:
    return all(getattr(large, axis) >= getattr(small, axis) for axis in StudentShape.model_fields)


def test_the_budget_is_used() -> None:
    """One more step of the feed-forward on the grid of levels would not fit."""
    budget = int(0.7 * total(SMOLLM2, StudentShape.of(SMOLLM2), "bf16"))
    found = candidates(SMOLLM2, budget)
    assert found == candidates(dict(reversed(SMOLLM2.items())), budget)
    for shape in found[1:]:
        wider = shape.model_copy(update={"intermediate_size": shape.intermediate_size + 96})
        assert wider.intermediate_size > 1536 or total(SMOLLM2, wider, "bf16") > budget


def test_smaller_vocabularies_and_fewer_heads_only_when_offered() -> None:
    budget = int(0.5 * total(SMOLLM2, StudentShape.of(SMOLLM2), "bf16"))
    plain = candidates(SMOLLM2, budget)
    assert {shape.vocab_size for shape in plain} == {49152}
    trimmed = candidates(SMOLLM2, budget, vocab_sizes=[16384])
    assert {shape.vocab_size for shape in trimmed} == {49152, 16384}
    deeper = [shape.num_layers for shape in trimmed if (shape.hidden_size, shape.intermediate_size) == (576, 1536)]
    assert len(deeper) == 2
    assert max(deeper) > plain[0].num_layers
    grouped = candidates(SMOLLM2, budget, cut_kv_heads=True, num_candidates=8)
    assert {shape.num_kv_heads for shape in grouped} == {2, 3}
    long_context = total(SMOLLM2, plain[0], "bf16", 8192)
    assert long_context > budget
    assert all(total(SMOLLM2, s, "bf16", 8192) <= budget for s in candidates(SMOLLM2, budget, context=8192))


def test_cuts_grow_beyond_a_third_only_when_needed() -> None:
    config = teacher_config("qwen3", hidden_size=256, intermediate_size=512, num_hidden_layers=6)
    whole = StudentShape.of(config)
    found = candidates(config, int(0.15 * total(config, whole, "bf16")), hidden_multiple=16)
    assert min(shape.hidden_size / 256 for shape in found) < 2 / 3
    assert candidates(config, 10**9) == (whole,)


def test_what_would_fit_is_said_when_nothing_does() -> None:
    with pytest.raises(BudgetError, match=r"takes ([\d,]+) bytes") as caught:
        candidates(SMOLLM2, 1_000_000)
    smallest = int(str(caught.value).split("takes ")[1].split(" ")[0].replace(",", ""))
    assert f"{smallest:,}" in caught.value.hint
    assert candidates(SMOLLM2, smallest)


def test_a_llama_with_biases_gets_widths_that_its_heads_divide() -> None:
    config = SMOLLM2 | {"attention_bias": True}
    budget = int(0.7 * total(config, StudentShape.of(config), "bf16"))
    for shape in candidates(config, budget):
        assert shape.hidden_size % 9 == 0
    with pytest.raises(BudgetError, match="of 288 channels"):
        candidates(config, 1_000_000, max_cut=0.8)
    with pytest.raises(CompatibilityError):
        candidates({**SMOLLM2, "model_type": "gpt2"}, budget)
