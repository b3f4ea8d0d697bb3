from __future__ import annotations

from spiritsafe.models import DecoderConfig
from spiritsafe.models.cost.step_time import scoring_work, training_work
from spiritsafe.pipeline.compute import Compute, affordable_tokens

CONFIG = {
    "model_type": "llama",
    "hidden_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 8,
    "intermediate_size": 768,
    "vocab_size": 260,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
}


def test_two_and_six_operations_are_those_of_the_matrix_products() -> None:
    """Held against the Decoder's exact count at short documents, where attention hardly counts."""
    size = DecoderConfig.from_hf(CONFIG).num_parameters
    trained = training_work(
        CONFIG, num_tokens=1000, num_supervised=1000, document_tokens=8, num_steps=1, num_micro_batches=1
    )
    read = scoring_work(CONFIG, num_tokens=1000, num_rows=1000, document_tokens=8, num_passes=1)
    assert 0.97 < Compute.training(1000, size).flops / trained.flops < 1.03
    assert 0.97 < Compute.reading(1000, size).flops / read.flops < 1.03
    assert Compute.generating(1000, size).flops == Compute.reading(1000, size).flops


def test_costs_add_up_and_survive_the_disk() -> None:
    parts = [Compute.generating(3, 10), Compute.training(5, 10), Compute.reading(7, 100)]
    total = Compute.total(parts)
    assert (total.generated_tokens, total.trained_tokens, total.read_tokens) == (3, 5, 7)
    assert total.flops == 2 * 3 * 10 + 6 * 5 * 10 + 2 * 7 * 100
    assert Compute.of({"compute": total.to_json()}) == total
    assert Compute.of({"compute": None}) == Compute.of({}) == Compute()
    assert Compute.training(5, 10, frozen=True).flops == 4 * 5 * 10


def test_a_budget_buys_whole_tokens() -> None:
    for teacher, frozen in ((0, False), (400, False), (0, True)):
        tokens = affordable_tokens(10_000, 100, teacher_parameters=teacher, frozen=frozen)
        costs = [
            (Compute.training(count, 100, frozen=frozen) + Compute.reading(count, teacher)).flops
            for count in (tokens, tokens + 1)
        ]
        assert costs[0] <= 10_000 < costs[1]
    assert affordable_tokens(-5, 100) < 0
