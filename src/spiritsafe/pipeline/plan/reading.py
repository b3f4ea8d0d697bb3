"""In which number format a model of a run is held where it is only read: teachers, references, captures, measurements.

In: a recipe, the name of one of its models, a device. Out: a :class:`Reading`; the plan counts its bytes, the stage
loads by it, and a captured signal says it of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import torch

from spiritsafe.models import WeightFormat, format_name, held_bytes, preferred_dtype
from spiritsafe.pipeline.recipe.given import GivenRecipe
from spiritsafe.pipeline.recipe.schema import Recipe

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@final
@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a model is held that is only read.

    Attributes:
        dtype: Of what is computed, and of all weights that are not held otherwise.
        weights: Bits of the layers' matrices; None: they are as the others.
    """

    dtype: torch.dtype
    weights: WeightFormat | None = None

    @property
    def name(self) -> str:
        """As a loaded model calls it."""
        return format_name(self.dtype, self.weights)

    @property
    def size(self) -> Literal["fp32", "bf16"]:
        """``dtype`` as memory is counted."""
        return "bf16" if self.dtype == torch.bfloat16 else "fp32"

    def num_bytes(self, config: Mapping[str, Any]) -> int:
        """Of the weights of a model with this ``config.json``."""
        return held_bytes(config, self.size, self.weights)


def reading_of(recipe: Recipe, name: str, device: torch.device) -> Reading:
    """As the table of a given model says; else, and of what the run made itself, what the device computes in.

    Numbers of a file model are not rounded again.
    """
    if recipe.node(name).is_file:
        return Reading(dtype=torch.float32)
    given = recipe.models.get(name)
    wish = given.dtype if isinstance(given, GivenRecipe) else "auto"
    if wish == "8bit" or wish == "4bit":
        return Reading(dtype=preferred_dtype(device), weights=wish)
    return Reading(dtype=preferred_dtype(device) if wish == "auto" else _DTYPES[wish])
