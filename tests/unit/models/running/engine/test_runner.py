from __future__ import annotations

from pathlib import Path

import pytest
from architectures import loaded_decoder

from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.running.engine.runner import PrefillWork, common_prefix


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([(1, 2, 3), (1, 2, 4)], 2),
        ([(1, 2, 3)], 2),
        ([(1, 2), (1, 2, 3)], 1),
        ([(5,), (1, 2)], 0),
        ([(1, 9, 3), (1, 2, 3), (1, 2, 4)], 1),
        ([], 0),
    ],
)
def test_common_prefix(prompts: list[tuple[int, ...]], expected: int) -> None:
    assert common_prefix(prompts) == expected


def test_parts_of_a_prompt_get_shorter_as_it_gets_longer_and_as_models_get_larger(tiny_directory: Path) -> None:
    model = loaded_decoder(tiny_directory).model
    assert isinstance(model, Decoder)
    config = model.config
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_layers": 8, "num_heads": 8}
    large = config.model_copy(update=sizes)
    parts = [[PrefillWork.of(one, 1).part_tokens(past) for past in (0, 1000, 8000)] for one in (config, large)]
    assert parts == [sorted(row, reverse=True) for row in parts]
    assert parts[0][0] > parts[1][0] > parts[1][2] >= 16
    assert PrefillWork.of(large, 4).part_tokens(1000) in range(3 * parts[1][1], 5 * parts[1][1] + 64)
    assert all(part % 16 == 0 for row in parts for part in row)
