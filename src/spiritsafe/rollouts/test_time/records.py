"""Accuracy against compute, as records: what one pool of attempts a problem says of every way to use it.

In: :func:`spiritsafe.rollouts.curve_of_pools` fills a :class:`ComputeCurve`. Out: reports draw it and read nothing
else. x is what a problem costs on average: tokens generated, or floating-point operations (2 × parameters × tokens), so
that models of all sizes share one plot.
"""

from __future__ import annotations

from typing import Literal, Self, final

from pydantic import Field, model_validator

from spiritsafe.core.records import Record, Sampling
from spiritsafe.stats import Estimate

SelectionMethod = Literal["greedy", "mean", "majority", "majority_early", "likelihood", "self_check", "oracle"]
"""How one answer comes out of k attempts.

"greedy": one attempt at temperature 0; "mean": one attempt as sampled; "majority": the answer of most attempts;
"majority_early": the same, stopped when decided; "likelihood": the attempt with the highest log-probability a token (or
in sum); "self_check": an attempt that passes what the task can check without gold; "oracle": any correct attempt
(pass@k), a ceiling and no method.
"""

METHODS: tuple[SelectionMethod, ...] = (
    "greedy",
    "mean",
    "majority",
    "majority_early",
    "likelihood",
    "self_check",
    "oracle",
)

CostAxis = Literal["tokens", "flops"]


def flops_of(num_tokens: float, num_parameters: int | None) -> float | None:
    """2 × parameters × tokens: a multiplication and an addition a weight and token; attention is left out."""
    return None if num_parameters is None else 2.0 * num_parameters * num_tokens


@final
class ComputePoint(Record):
    """One way at one k.

    Attributes:
        num_samples: k.
        num_tokens: Tokens generated a problem, on average, those of a self-check included.
        flops: The same as floating-point operations; None where the number of parameters is not known.
        accuracy: Over problems; ``n`` counts those that had k scored attempts.
    """

    num_samples: int = Field(ge=1)
    num_tokens: float = Field(ge=0.0)
    flops: float | None = Field(default=None, ge=0.0)
    accuracy: Estimate


@final
class ComputeLine(Record):
    """One way at all k.

    Attributes:
        gain: The last point minus one sampled attempt, paired by problem; None for lines of one point.
    """

    method: SelectionMethod
    points: tuple[ComputePoint, ...] = Field(min_length=1)
    gain: Estimate | None = None


@final
class ModelCompute(Record):
    """One model's lines.

    Attributes:
        name: Unique in its curve.
        num_parameters: None for an endpoint.
        num_unscored: Attempts without a grade (errors, broken verifiers); they are left out, as if never drawn.
        num_unparsed: Attempts without an answer; they are wrong, and abstain from votes.
        num_truncated: Attempts that ran out of tokens.
        notes: What is not offered, and why.
    """

    name: str
    digest: str
    num_parameters: int | None = Field(default=None, ge=1)
    num_attempts: int = Field(ge=0)
    num_unscored: int = Field(ge=0)
    num_unparsed: int = Field(ge=0)
    num_truncated: int = Field(ge=0)
    lines: tuple[ComputeLine, ...]
    notes: tuple[str, ...] = ()

    def line(self, method: SelectionMethod) -> ComputeLine | None:
        """The line of one method, if it is offered."""
        return next((line for line in self.lines if line.method == method), None)


@final
class EqualCost(Record):
    """Two models at the same cost, each using it in the same way: first minus second, paired by problem.

    Between two whole numbers of attempts a model is taken to use the one or the other so often that its mean cost fits.
    """

    axis: CostAxis
    cost: float = Field(gt=0.0)
    method: SelectionMethod
    first: str
    second: str
    difference: Estimate


@final
class TokensToReach(Record):
    """What a model spends until its majority vote is as good as the first model's vote of k.

    Attributes:
        num_samples: k.
        target: The first model's accuracy there.
        base_tokens: What the first model spends on it, in tokens a problem.
        num_tokens: What this model spends; None when its whole pool does not get there.
        low: Percentile bootstrap; None with ``num_tokens``.
        high: The same; None when it is not reached in so many redraws.
    """

    model: str
    base: str
    num_samples: int = Field(ge=1)
    target: Estimate
    base_tokens: float
    num_tokens: float | None = None
    low: float | None = None
    high: float | None = None


@final
class ComputeCurve(Record):
    """All models on one task.

    Attributes:
        task: Canonical name.
        sampling: Of the pools; the greedy attempts differ in the temperature.
        interval: How the intervals are made, in words.
        likelihood: Whether "likelihood" means log-probability a token or in sum.
        models: The first is what the others are compared with.
    """

    task: str
    sampling: Sampling
    num_problems: int = Field(ge=1)
    num_samples: int = Field(ge=1)
    interval: str
    likelihood: Literal["mean", "sum"] = "mean"
    models: tuple[ModelCompute, ...] = Field(min_length=1)
    differences: tuple[EqualCost, ...] = ()
    reached: tuple[TokensToReach, ...] = ()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if len({model.name for model in self.models}) < len(self.models):
            raise ValueError("two models have the same name")
        return self

    @property
    def has_flops(self) -> bool:
        """Whether any model's parameters are known."""
        return any(model.num_parameters is not None for model in self.models)
