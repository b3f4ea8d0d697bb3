"""What a report shows of ``measure`` steps: practice, never a certificate.

In: the pipeline fills them from finished steps. Out: parts of :class:`~spiritsafe.report.data.run.ReportData`. Nobody
sealed these problems, and the numbers rest on the maker's word.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, final

from pydantic import Field, StringConstraints, model_validator

from spiritsafe.core.records import Record
from spiritsafe.rollouts import ComputeCurve
from spiritsafe.stats import Estimate

MeasuredUnit = Literal["share", "nats a token", "bits a byte"]


@final
class Measured(Record):
    """One number of one model on one data set.

    Attributes:
        step: The step's name.
        what: "accuracy", "nll" or "kl:" and the teacher's name.
        count: What the value was taken over.
        counted: What was counted.
        against: The first model of the step, where this is another one.
        difference: Against that one on the same problems, paired.
    """

    step: str
    model: str
    data: str
    what: Annotated[str, StringConstraints(pattern=r"^(accuracy|nll|kl:.+)$")]
    value: Estimate
    unit: MeasuredUnit
    count: int = Field(ge=0)
    counted: Literal["problems", "tokens"]
    against: str | None = None
    difference: Estimate | None = None

    @model_validator(mode="after")
    def _says_against_what(self) -> Self:
        if self.difference is not None and self.against is None:
            raise ValueError(f"{self.step}: {self.model} differs from a model that is not named")
        return self


@final
class MeasuredCurve(Record):
    """Accuracy against compute of a step's models on one data set."""

    step: str
    data: str
    curve: ComputeCurve
