from __future__ import annotations

import json
from pathlib import Path

import pytest
from published_configs import NUM_PARAMETERS, PUBLISHED
from stranger_models import write_mixtral, write_stranger

from spiritsafe.pipeline.plan.model_plan import ModelPlan, WayPlan, plan_model

GPUS = (24 * 10**9, 48 * 10**9, 80 * 10**9)
TOKENS = 4096


def planned(name: str, folder: Path, **more: object) -> ModelPlan:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(PUBLISHED[name]))
    return plan_model(str(path), GPUS, longest_tokens=TOKENS, **more)


def way(plan: ModelPlan, name: str) -> WayPlan:
    return next(one for one in plan.ways if one.name == name)


def adapter_numbers(name: str, rank: int) -> int:
    """One down and one up map for each of q, k, v, o, gate, up, down of each layer."""
    c = PUBLISHED[name]
    hidden, wide = c["hidden_size"], c["intermediate_size"]
    keys = hidden // c["num_attention_heads"] * c["num_key_value_heads"]
    sides = 2 * (hidden + hidden) + 2 * (hidden + keys) + 3 * (hidden + wide)
    return rank * sides * c["num_hidden_layers"]


def kept_by_a_token(name: str) -> int:
    """Bytes that a token of a pass in bfloat16 keeps when all weights learn, counted by hand."""
    c = PUBLISHED[name]
    hidden, wide, heads = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"]
    keys, head = hidden // heads * c["num_key_value_heads"], hidden // heads
    norm = 2 * hidden + 4  # its input, and one statistic
    attention = 2 * (hidden + 2 * keys) + 2 * (hidden + keys) + 2 * hidden + 4 * heads  # qkv, rotated q and k, output
    feed_forward = 2 * 3 * wide  # gate, up, their product
    inputs = 2 * (hidden + hidden + wide)  # of the layers qkv, gate and up, down
    shared = 2 * head + 28  # cosines and sines; ids, positions, targets, weight
    return c["num_hidden_layers"] * (2 * norm + attention + feed_forward + inputs) + shared + norm + 2 * hidden


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_the_numbers_are_those_of_a_hand_count(name: str, tmp_path: Path) -> None:
    plan, count = planned(name, tmp_path), NUM_PARAMETERS[name]
    assert (plan.model, plan.num_parameters) == (name, count)
    full = way(plan, "full").peak
    assert (full.compute_bytes, full.master_bytes) == (2 * count, 4 * count)
    assert (full.gradient_bytes, full.optimiser_bytes) == (4 * count, 8 * count)
    assert full.activation_bytes == TOKENS * kept_by_a_token(name)
    lora, learning = way(plan, "LoRA").peak, adapter_numbers(name, 16)
    assert lora.compute_bytes == 2 * (count + learning)
    assert lora.master_bytes + lora.gradient_bytes + lora.optimiser_bytes == 16 * learning
    assert [offer.fit for offer in way(plan, "full").offers] == [None, None, None]  # 18 bytes a weight are 130 GB
    for offer in way(plan, "LoRA").offers:
        assert offer.fit is not None
        assert offer.fit.memory.total_bytes * 1.08 <= offer.memory_bytes
        assert offer.fit.micro_batch_tokens >= TOKENS
    fits = [offer.fit.checkpointing for offer in way(plan, "LoRA").offers if offer.fit]
    assert fits[0], "24 GB hold it with recomputed activations only"
    assert not fits[2]


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_a_base_in_codes_and_moments_in_codes_take_what_they_are_made_of(name: str, tmp_path: Path) -> None:
    plan, c = planned(name, tmp_path), PUBLISHED[name]
    hidden, wide, vocabulary = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    keys = hidden // c["num_attention_heads"] * c["num_key_value_heads"]
    in_codes = c["num_hidden_layers"] * (2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * wide)
    qlora, learning = way(plan, "QLoRA, 4-bit base").peak, adapter_numbers(name, 16)
    # half a byte and, for each 64, the largest of them in float32; what is in no code and adapters in bfloat16
    assert qlora.compute_bytes == in_codes * 9 // 16 + 2 * (NUM_PARAMETERS[name] - in_codes + learning)
    matrices = in_codes + 2 * vocabulary * hidden
    in_8_bits = way(plan, "full, 8-bit moments").peak.optimiser_bytes
    # a byte each and, for each 256 of a row, the largest of them in float32; vectors as they were
    assert in_8_bits == pytest.approx(2 * matrices * (1 + 4 / 256) + 8 * (NUM_PARAMETERS[name] - matrices), rel=1e-3)
    assert all(offer.fit is not None for offer in way(plan, "QLoRA, 4-bit base").offers)


def test_a_teacher_and_a_rank_are_counted(tmp_path: Path) -> None:
    alone = planned("Mistral-7B-v0.3", tmp_path)
    teacher = str(tmp_path / "Mistral-7B-v0.3.json")
    beside = planned("Llama-3-8B", tmp_path, teacher=teacher, lora_rank=8)
    assert beside.teacher == "Mistral-7B-v0.3"
    assert way(beside, "full").peak.teacher_bytes == 2 * alone.num_parameters
    assert way(beside, "LoRA").peak.master_bytes == 4 * adapter_numbers("Llama-3-8B", 8)
    assert "beside the live teacher Mistral-7B-v0.3" in beside.text()


def test_a_model_that_transformers_runs_is_a_lower_bound(tmp_path: Path) -> None:
    plan = plan_model(str(write_mixtral(tmp_path / "mixtral")), GPUS, lora_rank=8)
    assert plan.is_lower_bound
    assert [one.name for one in plan.ways] == ["full", "full, 8-bit moments", "LoRA", "QLoRA, 4-bit base"]
    assert plan.text().count("At least:") == 1
    # of each of two layers q and o, 64 by 64, and k and v, 64 by 32, have adapters
    peak = way(plan, "LoRA").peak
    assert peak.master_bytes == peak.gradient_bytes == 4 * 8 * 2 * (2 * 128 + 2 * 96)
    assert peak.compute_bytes == 2 * plan.num_parameters + 2 * 8 * 2 * (2 * 128 + 2 * 96)
    assert way(plan, "QLoRA, 4-bit base").peak.total_bytes < peak.total_bytes < way(plan, "full").peak.total_bytes


def test_ways_that_a_model_cannot_be_trained_in_are_left_out(tmp_path: Path) -> None:
    plan = plan_model(str(write_stranger(tmp_path, "mamba", state_size=4)), GPUS)
    assert [one.name for one in plan.ways] == ["full", "full, 8-bit moments"]


def test_the_table_says_what_fits(tmp_path: Path) -> None:
    lines = planned("Llama-3-8B", tmp_path).text().splitlines()
    assert lines[0] == "Llama-3-8B: 8.03 B parameters, documents of up to 4,096 tokens"
    assert lines[2].split("  ")[0] == "way"
    assert lines[2].split()[-6:] == ["24", "GB", "48", "GB", "80", "GB"]
    assert lines[3].split()[-3:] == ["no", "no", "no"]
    assert [line.split("  ")[0] for line in lines[3:7]] == ["full", "full, 8-bit moments", "LoRA", "QLoRA, 4-bit base"]
    assert "recomputed" in lines[5]
