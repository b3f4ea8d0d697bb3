from __future__ import annotations

from typing import Any

import pytest
import torch
from spiritsafe.pipeline.plan.peaks import predicted_memory

from spiritsafe.core.errors import BudgetError, CompatibilityError
from spiritsafe.models import LoraConfig
from spiritsafe.pipeline.plan import memory
from spiritsafe.pipeline.plan.memory import Beside, MemoryCheck, check_memory, engine_bytes
from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.training import TrainConfig

CONFIG = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "num_hidden_layers": 30,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
}


def test_memory_grows_with_the_micro_batch_and_shrinks_with_the_student() -> None:
    small = predicted_memory(load_recipe("quickstart")[0], CONFIG)
    large = predicted_memory(
        load_recipe("quickstart", ("teach.train.micro_batch_tokens=9999", "teach.train.tokens_per_step=9999"))[0],
        CONFIG,
    )
    cut = predicted_memory(load_recipe("quickstart", ("students.0.share=0.5",))[0], CONFIG)
    assert large["teach"] > small["teach"]
    assert cut["student"] < small["student"]
    assert 2e9 < small["teach"] < 6e9


def computing_in(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that prefers that format."""
    monkeypatch.setattr(memory, "choose_dtype", lambda wish, device: dtype)
    monkeypatch.setattr(memory, "preferred_dtype", lambda device: dtype)


def test_the_published_quickstart_peaks_are_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    computing_in(torch.float32, monkeypatch)
    peaks = predicted_memory(load_recipe("quickstart")[0], CONFIG)
    # the kernel's high-water marks of the committed run on two cores of an AMD EPYC without bfloat16
    assert peaks["teach"] == pytest.approx(3_405_778_944, rel=0.05)
    assert peaks["sample"] == pytest.approx(1_949_642_752, rel=0.12)
    assert peaks["student"] == pytest.approx(3_694_034_944, rel=0.05)


def test_the_peaks_of_half_precision_are_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    computing_in(torch.bfloat16, monkeypatch)
    peaks = predicted_memory(load_recipe("quickstart")[0], CONFIG)
    # of quickstart with 500 and 250 problems, where 3.36 and 3.48 GB had been predicted
    assert peaks["teach"] == pytest.approx(3_597_000_000, rel=0.05)
    assert peaks["student"] == pytest.approx(3_814_436_864, rel=0.05)


TRAIN = TrainConfig(
    learning_rate=1e-4, tokens_per_step=4096, micro_batch_tokens=4096, max_epochs=1, compute_dtype="float32"
)
CPU = torch.device("cpu")


def check(available: int, **more: Any) -> Any:
    return check_memory(CONFIG, TRAIN, [200] * 100, device=CPU, available=available, **more)


def test_a_stage_that_fits_is_left_alone() -> None:
    found = check(10**11)
    assert (found.micro_batch_tokens, found.checkpointing, found.note) == (4096, False, "")
    assert 7e9 < found.predicted_bytes < 12e9


def test_a_stage_that_does_not_fit_is_planned_anew_and_says_so() -> None:
    found = check(5 * 10**9)
    assert 200 <= found.micro_batch_tokens < 4096
    assert found.predicted_bytes < 5 * 10**9
    assert f"micro_batch_tokens {found.micro_batch_tokens} instead of 4096" in found.note
    assert "updates stay the same" in found.note
    smaller = check(5 * 10**9, beside=Beside(teacher=CONFIG))
    assert smaller.micro_batch_tokens < found.micro_batch_tokens


def test_a_stage_that_cannot_fit_is_refused() -> None:
    with pytest.raises(BudgetError, match="one document of 200 tokens"):
        check(2 * 10**9)


def test_few_documents_need_no_whole_micro_batch() -> None:
    found = check_memory(CONFIG, TRAIN, [100, 50], device=CPU, available=4 * 10**9)
    assert (found.micro_batch_tokens, found.note) == (4096, "")


def test_a_foreign_architecture_is_not_guessed() -> None:
    with pytest.raises(CompatibilityError):
        check_memory({"model_type": "mamba"}, TRAIN, [100], device=CPU)


def test_steps_take_what_they_train_and_hold() -> None:
    recipe, _ = load_recipe("tiny")
    plain = predicted_memory(recipe, CONFIG)
    assert {"rl", "rl-random", "rl-format", "rl-rft", "harvest", "tuned"} <= set(plain)
    assert plain["harvest"] == plain["sample"]
    kept_near, _ = load_recipe("tiny", ("steps.0.config.loss.kl_weight=0.01",))
    weights = 4 * 134_515_008
    grown = predicted_memory(kept_near, CONFIG)["rl"] - plain["rl"]
    assert weights <= grown < 1.5 * weights
    small = predicted_memory(recipe, CONFIG, sources={"tiny:1": CONFIG | {"num_hidden_layers": 2}})
    assert small == plain  # nothing of this recipe has a source of its own


def test_a_source_of_its_own_is_as_large_as_it_is() -> None:
    student = {"share": None, "source": "tiny:1", "objective": "traces", "signal": "live", "ce_share": 0.0}
    recipe, _ = load_recipe("tiny")
    changed = recipe.students[0].to_json() | student
    recipe = type(recipe).model_validate({**recipe.model_dump(exclude={"students", "cache"}), "students": [changed]})
    assumed = predicted_memory(recipe, CONFIG)["student"]
    known = predicted_memory(recipe, CONFIG, sources={"tiny:1": CONFIG | {"num_hidden_layers": 2}})["student"]
    assert known < assumed / 2


def test_adapters_take_less_than_the_whole_model() -> None:
    recipe, _ = load_recipe("tiny")
    plain = predicted_memory(recipe, CONFIG)
    adapters, _ = load_recipe("tiny", ("steps.0.lora={ rank = 8 }",))
    found = predicted_memory(adapters, CONFIG)
    assert plain["rl"] - found["rl"] > 2 * 4 * 134_515_008  # gradients and two moments, less a copy in float32
    assert found["tuned"] == plain["tuned"]
    kept_near, _ = load_recipe("tiny", ("steps.0.lora={ rank = 8 }", "steps.0.config.loss.kl_weight=0.01"))
    assert predicted_memory(kept_near, CONFIG)["rl"] == found["rl"]  # the frozen weights are the reference


LLAMA_8B = {
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}


def test_adapters_of_a_large_model_are_let_onto_a_card_that_holds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    computing_in(torch.bfloat16, monkeypatch)
    train = TRAIN.model_copy(update={"micro_batch_tokens": 2048})
    cuda, lengths = torch.device("cuda"), [2048] * 8
    with pytest.raises(BudgetError):
        check_memory(LLAMA_8B, train, lengths, device=cuda, available=80 * 10**9)
    found = check_memory(
        LLAMA_8B, train, lengths, device=cuda, available=80 * 10**9, beside=Beside(lora=LoraConfig(rank=16))
    )
    assert (found.micro_batch_tokens, found.note) == (2048, "")
    assert found.predicted_bytes < 32 * 10**9


@pytest.mark.parametrize("lora", ["", "steps.0.lora={ rank = 8 }"])
@pytest.mark.parametrize("kl", ["", "steps.0.config.loss.kl_weight=0.01"])
def test_a_stage_is_told_what_the_plan_says(lora: str, kl: str) -> None:
    recipe, _ = load_recipe("tiny", tuple(key for key in (lora, kl) if key))
    node = next(node for node in recipe.nodes if node.name == "rl")
    train = node.recipe.train.model_copy(update={"tokens_per_step": 512, "micro_batch_tokens": 512})
    changed = node.recipe.model_copy(update={"train": train})
    config = {**CONFIG, "dtype": "float32"}
    beside = changed.beside(recipe, config, CPU)
    stage = check_memory(config, train, [512], device=CPU, beside=beside, available=10**12)
    assert stage.predicted_bytes == memory.training_peak(train, config, CPU, beside)


def test_what_draws_or_is_scored_has_an_engine_beside_it() -> None:
    recipe, _ = load_recipe("tiny", ("teach.dev_problems=0",))
    scored, _ = load_recipe("tiny", ("teach.dev_problems=4",))
    for student in recipe.students:
        without = student.beside(recipe, CONFIG, CPU, teacher=CONFIG)
        assert (without.other_bytes > 0) == (student.on_policy is not None)
        assert student.beside(scored, CONFIG, CPU, teacher=CONFIG).other_bytes > 0


def test_the_engine_keeps_windowed_layers_whole_and_a_gpu_its_own_format() -> None:
    recipe, _ = load_recipe("tiny", ("engine.max_context=512", "engine.max_batch=4"))
    windowed = CONFIG | {"model_type": "mistral", "sliding_window": 64}
    cache = 30 * 2 * 4 * 3 * 512 * 64
    assert engine_bytes(recipe, CONFIG, torch.device("cuda"), "bf16") == 2 * cache
    assert engine_bytes(recipe, windowed, torch.device("cuda"), "bf16") == 2 * cache
    assert engine_bytes(recipe, windowed, torch.device("cuda"), "fp32") == 4 * cache
    assert engine_bytes(recipe, windowed, CPU, "bf16") == 4 * cache + 2 * 134_515_008
    # beyond two gigabytes the engine makes no second copy
    large = CONFIG | {"num_hidden_layers": 300}
    assert engine_bytes(recipe, large, CPU, "fp32") == 40 * cache


def test_after_memory_ran_out_less_is_tried_until_nothing_is_left() -> None:
    check = MemoryCheck(
        micro_batch_tokens=4096,
        checkpointing=False,
        predicted_bytes=1,
        available_bytes=2,
        tokens_at_once=1000,
        longest=300,
    )
    seen = []
    while (eased := check.eased()) is not None:
        seen.append((eased.micro_batch_tokens, eased.checkpointing))
        assert "Memory ran out before" in eased.note
        check = eased
    assert seen == [(500, False), (300, False), (300, True)]
