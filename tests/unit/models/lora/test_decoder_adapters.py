from __future__ import annotations

import pytest
from tiny_training import tiny_decoder

from spiritsafe.models.lora.adapters import add_lora, lora_state
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.lora.decoder_adapters import DecoderAdapters, lora_shapes, num_lora_parameters
from spiritsafe.models.transformers_backend.projections import LORA_TARGETS, LoraTarget


@pytest.mark.parametrize("targets", [LORA_TARGETS, ("k", "down")])
def test_sizes_that_follow_from_the_configuration_are_the_models(targets: tuple[LoraTarget, ...]) -> None:
    model, lora = tiny_decoder(), LoraConfig(rank=3, targets=targets)
    assert DecoderAdapters(model).module_names() == ()
    add_lora(model, lora)
    state = lora_state(model)
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == lora_shapes(model.config, lora)
    assert sum(tensor.numel() for tensor in state.values()) == num_lora_parameters(model.config, lora)
    assert DecoderAdapters(model).module_names() == tuple(f"{target}_proj" for target in targets)
