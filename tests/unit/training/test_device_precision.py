from __future__ import annotations

import pytest
import torch

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.training import device as precision
from spiritsafe.training.device import choose_dtype

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("preferred", [torch.float32, torch.bfloat16])
def test_auto_takes_what_the_processor_multiplies_fast(preferred: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "preferred_dtype", lambda device: preferred)
    assert choose_dtype("auto", CPU) == preferred


def test_an_explicit_wish_is_followed() -> None:
    assert choose_dtype("float32", CPU) == torch.float32
    assert choose_dtype("bfloat16", CPU) == torch.bfloat16


def test_a_gpu_without_bfloat16_falls_back_or_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert choose_dtype("auto", CUDA) == torch.float32
    assert choose_dtype("float32", CUDA) == torch.float32
    with pytest.raises(CompatibilityError, match="does not compute in bfloat16"):
        choose_dtype("bfloat16", CUDA)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert choose_dtype("auto", CUDA) == torch.bfloat16


def test_an_apple_gpu_trains_in_float32() -> None:
    mps = torch.device("mps")
    assert choose_dtype("auto", mps) == choose_dtype("float32", mps) == torch.float32
    with pytest.raises(CompatibilityError, match="in float32"):
        choose_dtype("bfloat16", mps)


def test_other_devices_are_refused() -> None:
    with pytest.raises(CompatibilityError, match="meta"):
        choose_dtype("auto", torch.device("meta"))
