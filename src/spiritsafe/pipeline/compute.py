"""What making a model took: tokens generated, read and trained on, and the operations that they are.

In: counts of tokens and a model's number of parameters, of a mixture of experts those that a token passes through.
Out: a :class:`Compute`, which adds up. Operations are those of the weights' matrix products: 2 for each such parameter
and token in a forward pass, 6 in training (arXiv 2001.08361, §2.1).
Attention, optimiser, prompts that are read before an answer, calibration and measurements are left out, alike for all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self, final

from pydantic import Field

from spiritsafe.core.records import Record

_FORWARD = 2
_TRAINED = 6
_TRAINED_BESIDE_FROZEN = 4
"""Forward, and the gradient through frozen weights; their own gradient is not made."""


@final
class Compute(Record):
    """Tokens and operations.

    Attributes:
        generated_tokens: Drawn from a model.
        read_tokens: Forward only: by a live teacher, or for a capture.
        trained_tokens: Forward and backward, prompts included.
        flops: Of all these.
    """

    generated_tokens: int = Field(default=0, ge=0)
    read_tokens: int = Field(default=0, ge=0)
    trained_tokens: int = Field(default=0, ge=0)
    flops: int = Field(default=0, ge=0)

    def __add__(self, other: Compute) -> Compute:
        return Compute(
            generated_tokens=self.generated_tokens + other.generated_tokens,
            read_tokens=self.read_tokens + other.read_tokens,
            trained_tokens=self.trained_tokens + other.trained_tokens,
            flops=self.flops + other.flops,
        )

    @classmethod
    def generating(cls, num_tokens: int, num_parameters: int) -> Self:
        """So many tokens drawn."""
        return cls(generated_tokens=num_tokens, flops=_FORWARD * num_tokens * num_parameters)

    @classmethod
    def reading(cls, num_tokens: int, num_parameters: int) -> Self:
        """So many tokens read."""
        return cls(read_tokens=num_tokens, flops=_FORWARD * num_tokens * num_parameters)

    @classmethod
    def training(cls, num_tokens: int, num_parameters: int, *, frozen: bool = False) -> Self:
        """So many tokens trained on.

        Args:
            num_tokens: Prompts included.
            num_parameters: Of the whole model, as far as a token passes through it.
            frozen: Whether only a low-rank correction learns.
        """
        factor = _TRAINED_BESIDE_FROZEN if frozen else _TRAINED
        return cls(trained_tokens=num_tokens, flops=factor * num_tokens * num_parameters)

    @classmethod
    def of(cls, result: dict[str, Any]) -> Self:
        """What a finished stage recorded; nothing where it recorded none."""
        return cls.from_json(result.get("compute") or {})

    @classmethod
    def total(cls, parts: Iterable[Compute]) -> Compute:
        """All together."""
        total = Compute()
        for part in parts:
            total += part
        return total


def affordable_tokens(flops: int, num_parameters: int, *, teacher_parameters: int = 0, frozen: bool = False) -> int:
    """Tokens that can be trained on with so many operations.

    Args:
        flops: What may be spent.
        num_parameters: Of the model that learns.
        teacher_parameters: Of a teacher that reads each token as well; 0: none.
        frozen: Whether only a low-rank correction learns.
    """
    per_token = Compute.training(1, num_parameters, frozen=frozen) + Compute.reading(1, teacher_parameters)
    return flops // per_token.flops
