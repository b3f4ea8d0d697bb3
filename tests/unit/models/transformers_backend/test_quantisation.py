from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.transformers_backend import quantisation
from spiritsafe.models.transformers_backend.quantisation import keep_codes, let_train_over, quantised_loading


def test_transformers_is_told_the_formats_of_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {weights: quantised_loading(weights, torch.bfloat16, "cpu") for weights in ("4bit", "8bit")}  # type: ignore[arg-type]
    four, eight = (told[weights]["quantization_config"] for weights in ("4bit", "8bit"))
    assert (four.load_in_4bit, four.bnb_4bit_quant_type, four.bnb_4bit_use_double_quant) == (True, "nf4", False)
    assert four.bnb_4bit_compute_dtype == torch.bfloat16
    assert eight.load_in_8bit
    assert told["4bit"]["device_map"] == {"": "cpu"}
    monkeypatch.setattr(quantisation, "is_accelerate_available", lambda: False)
    with pytest.raises(CompatibilityError) as caught:
        quantised_loading("8bit", torch.float32, "cpu")
    assert "spiritsafe[quant]" in caught.value.hint


def test_codes_stay_as_they_are() -> None:
    model: Any = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    for layer, packs_codes in ((model[0], True), (model[1], False)):  # as four-bit layers are
        layer.support_avx512bf16_for_cpu, layer.compute_dtype, layer.compute_type_is_set = packs_codes, "float32", True
    keep_codes(model)
    assert [layer.support_avx512bf16_for_cpu for layer in model[:2]] == [False, False]
    let_train_over(model)
    assert [layer.compute_dtype for layer in model[:2]] == [None, None]
    assert not {"support_avx512bf16_for_cpu", "compute_dtype"} & set(vars(model[2]))
