"""The same quantised model in transformers, and adapters on it in peft."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from spiritsafe.models.transformers_backend.quantisation import keep_codes


def nf4_in_transformers(directory: Path, dtype: torch.dtype = torch.float32) -> Any:
    """A directory's model with transformers' own 4-bit layers."""
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    model = AutoModelForCausalLM.from_pretrained(
        directory, quantization_config=config, dtype=dtype, device_map={"": "cpu"}
    )
    keep_codes(model)  # else a processor that multiplies bfloat16 rounds to it, and small matrices fail
    return model


def int8_as_numbers(directory: Path) -> Any:
    """A directory's model with what the codes of transformers' own 8-bit layers stand for."""
    config = BitsAndBytesConfig(load_in_8bit=True)
    model = AutoModelForCausalLM.from_pretrained(
        directory, quantization_config=config, dtype=torch.float32, device_map={"": "cpu"}
    )
    return model.dequantize(dtype=torch.float32)


def in_peft(base: Any, adapter: Path, *, trainable: bool = False) -> Any:
    """Adapters of a directory on a model of transformers, by peft."""
    peft = pytest.importorskip("peft", reason="peft is not installed: nothing holds our adapters against it")
    with warnings.catch_warnings():  # peft 0.21 asks transformers 5 for an attribute by its older name
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return peft.PeftModel.from_pretrained(base, adapter, is_trainable=trainable)


@torch.no_grad()
def logits_of(model: Any, ids: tuple[int, ...]) -> Tensor:
    """Of one document, ``[N, V]``."""
    found: Tensor = model(torch.tensor([ids])).logits[0]
    return found
