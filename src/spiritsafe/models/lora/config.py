"""How a model's adapters are made.

In: rank, scale and targets from a recipe. Out: a checked :class:`LoraConfig`.
"""

from __future__ import annotations

from typing import Self, final

from pydantic import Field, model_validator

from spiritsafe.core.records import Record
from spiritsafe.models.transformers_backend.projections import LORA_TARGETS, LoraTarget


@final
class LoraConfig(Record):
    """Adapters of a model. There is no dropout.

    Attributes:
        rank: Inner width of every adapter.
        alpha: Adapters are scaled by alpha / rank, so that a learning rate fits several ranks.
        targets: Which projections have one; of a model that transformers runs, those of them that its layers have.
        seed: Of the first maps, which are drawn as peft draws them (Kaiming uniform: within 1 / √width); the second
            maps start at zero, so that a fresh adapter changes nothing.
    """

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0.0)
    targets: tuple[LoraTarget, ...] = LORA_TARGETS
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _targets_are_a_set(self) -> Self:
        if not self.targets or len(set(self.targets)) != len(self.targets):
            raise ValueError(f"targets must name projections, each once, not {list(self.targets)}")
        return self
