"""Models of transformers whose linear layers bitsandbytes holds in codes.

In: how the layers are to be held, or a loaded model. Out: what transformers is told when it loads; and codes that stay
as they were loaded, so that every processor computes what was asked for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig
from transformers.utils import is_accelerate_available

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.decoder.quantised import WeightFormat, bitsandbytes_functions

_PACKS = "support_avx512bf16_for_cpu"
"""By which a layer of bitsandbytes knows that it may lay its codes out anew."""


def quantised_loading(weights: WeightFormat, dtype: torch.dtype, device: torch.device | str) -> dict[str, Any]:
    """How transformers is told to quantise while it loads, each tensor on the device where it will be.

    Raises:
        CompatibilityError: bitsandbytes or accelerate is not installed.
    """
    bitsandbytes_functions()
    if not is_accelerate_available():
        raise CompatibilityError(
            "transformers places quantised weights by accelerate, which is not installed.",
            hint="Run `pip install 'spiritsafe[quant]'`.",
        )
    config = (
        BitsAndBytesConfig(load_in_8bit=True)
        if weights == "8bit"
        else BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    )
    return {"quantization_config": config, "device_map": {"": device}}


def keep_codes(model: nn.Module) -> None:
    """Have four-bit layers read their codes as they were loaded.

    On processors that multiply bfloat16, bitsandbytes lays them out anew at the first forward pass: that needs matrices
    of whole blocks, rounds scales and rows to bfloat16 whatever was asked for, and cannot be trained over.
    """
    for module in model.modules():
        if getattr(module, _PACKS, False):
            layer: Any = module
            setattr(layer, _PACKS, False)


def let_train_over(model: nn.Module) -> None:
    """Make a quantised model's layers fit for training adapters over them; nothing to do for another model.

    Four-bit layers compute in the number format of their rows: training chooses it after they are loaded.
    """
    for module in model.modules():
        if getattr(module, "compute_type_is_set", None) is not None:  # a four-bit layer
            layer: Any = module
            layer.compute_dtype, layer.compute_type_is_set = None, True
