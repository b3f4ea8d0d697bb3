from __future__ import annotations

import pytest
import torch
from torch import nn

from spiritsafe.models.cost.moments import moment_bytes, takes_8_bits
from spiritsafe.training.config import TrainConfig
from spiritsafe.training.optimiser import AdamW


@pytest.mark.parametrize("moments", ["float32", "8bit"])
def test_bytes_are_those_that_the_optimiser_takes(moments: str) -> None:
    model = nn.Sequential(nn.Linear(256, 40), nn.Linear(40, 300), nn.Linear(300, 17), nn.LayerNorm(17))
    config = TrainConfig.model_validate(
        {"learning_rate": 1.0, "tokens_per_step": 1, "micro_batch_tokens": 1, "max_steps": 1, "moments": moments}
    )
    optimiser = AdamW(model, config, torch.float32)
    taken = optimiser.state_bytes - sum(master.nbytes for master in optimiser.masters)
    assert taken == moment_bytes([p.shape for p in model.parameters()], config.moments)


def test_vectors_small_matrices_and_narrow_rows_keep_float32() -> None:
    assert takes_8_bits((16, 256))
    assert takes_8_bits((16, 2, 128))
    assert not takes_8_bits((15, 256))
    assert not takes_8_bits((100_000, 255))
    assert not takes_8_bits((100_000,))
