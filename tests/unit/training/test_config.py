from __future__ import annotations

import pytest
from pydantic import ValidationError

from spiritsafe.training.config import TrainConfig, learning_rate_at, num_warmup_steps


def make(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate(
        {"learning_rate": 1.0, "tokens_per_step": 100, "micro_batch_tokens": 100, "max_steps": 100} | changes
    )


def test_rate_rises_to_the_peak_then_falls_to_the_floor() -> None:
    config = make(warmup_steps=10, floor_share=0.1)
    rates = [learning_rate_at(config, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == 1.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[54] == pytest.approx(0.55)  # half-way down the cosine: the mean of peak and floor
    assert rates[99] == pytest.approx(0.1)


def test_floor_one_keeps_the_rate() -> None:
    config = make(warmup_steps=0, floor_share=1.0)
    assert {learning_rate_at(config, step, 7) for step in range(7)} == {1.0}


def test_warmup_as_share_or_steps_never_exceeds_the_run() -> None:
    assert num_warmup_steps(make(warmup_share=0.25), 80) == 20
    assert num_warmup_steps(make(warmup_steps=50), 10) == 10
    assert learning_rate_at(make(warmup_steps=50), 9, 10) == 1.0


@pytest.mark.parametrize(
    "changes",
    [
        {"max_steps": None},
        {"warmup_steps": 3, "warmup_share": 0.1},
        {"betas": (0.9, 1.0)},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"tokens_per_step": 0},
        {"max_grad_norm": 0.0},
        {"learning_rat": 1.0},
        {"compute_dtype": "float16"},
    ],
)
def test_options_that_make_no_sense_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        make(**changes)
