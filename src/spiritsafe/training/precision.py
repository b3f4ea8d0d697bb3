"""Which number format a run computes in.

In: the wish of a configuration and a device. Out: a torch dtype. Master weights, gradients and optimiser state stay
float32 whatever is chosen here.
"""

from __future__ import annotations

import torch

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.engine_dtype import preferred_dtype
from spiritsafe.training.config import ComputeDtype

__all__ = ["choose_dtype"]


def choose_dtype(wish: ComputeDtype, device: torch.device) -> torch.dtype:
    """The format of weights and activations.

    Raises:
        CompatibilityError: bfloat16 was asked of a GPU that does not have it, or the device is neither CPU nor CUDA.
    """
    if device.type not in ("cpu", "cuda"):
        raise CompatibilityError(
            f"Training on {device.type!r} is not supported.", hint="Move the model to the CPU or to a CUDA device."
        )
    if wish == "float32":
        return torch.float32
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        if wish == "auto":
            return torch.float32
        raise CompatibilityError(
            "This GPU does not compute in bfloat16.", hint='Set compute_dtype to "float32" or "auto".'
        )
    return torch.bfloat16 if wish == "bfloat16" else preferred_dtype(device)
