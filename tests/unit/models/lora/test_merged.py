from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.checkpoints.directory import save_checkpoint
from spiritsafe.models.checkpoints.lineage import verify_checkpoint
from spiritsafe.models.decoder.quantised import WeightFormat
from spiritsafe.models.lora.adapters import add_lora, lora_config, lora_state, merge_lora
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.lora.merged import MergedLora
from spiritsafe.models.transformers_backend.loading import load_decoder
from spiritsafe.models.transformers_backend.projections import LoraTarget


@pytest.mark.parametrize("targets", [("q", "v", "down"), ("k", "o", "gate", "up")])
@pytest.mark.parametrize("weights", ["4bit", "8bit", None])
def test_what_is_written_is_what_merging_in_memory_gives(
    tiny_directory: Path, tmp_path: Path, weights: WeightFormat | None, targets: tuple[LoraTarget, ...]
) -> None:
    model = load_decoder(tiny_directory, dtype=torch.float32, weights=weights)
    add_lora(model, LoraConfig(rank=3, alpha=5.0, targets=targets))
    for tensor in lora_state(model).values():
        tensor.normal_(std=0.1)
    made = save_checkpoint(
        tmp_path / "made", MergedLora(model), ChatFormat(tiny_directory), name="made", license="Apache-2.0"
    )
    assert verify_checkpoint(tmp_path / "made") == made
    assert lora_config(model) is not None  # it is not changed
    merge_lora(model)
    expected, found = model.hf_state_dict(), load_file(tmp_path / "made" / "model.safetensors")
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    peer = AutoModelForCausalLM.from_pretrained(tmp_path / "made")
    assert peer.dtype == torch.float32


def test_a_model_without_adapters_is_refused(tiny_directory: Path) -> None:
    with pytest.raises(CompatibilityError, match="no adapters"):
        MergedLora(load_decoder(tiny_directory, dtype=torch.float32))
