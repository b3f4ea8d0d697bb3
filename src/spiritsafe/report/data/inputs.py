"""What a report shows of what went in: given models, data sets, traces.

In: the pipeline fills them from the recipe and the run directory. Out: a part of
:class:`~spiritsafe.report.data.run.ReportData`.
"""

from __future__ import annotations

from typing import Self, final

from pydantic import Field, model_validator

from spiritsafe.core.records import Record
from spiritsafe.report.data.models import Source
from spiritsafe.stats import Estimate


@final
class DataInfo(Record):
    """One data set of the recipe.

    Attributes:
        name: In the recipe.
        origin: The task's canonical spec, the files, or the hub set.
        verifier: None where nothing here can grade an answer.
        version: Of the verifier.
        num_problems: That were drawn or read; None where it was not counted.
        num_solutions: Worked solutions that were accepted; None where there are none.
        about: What else there is to say of it, by heading ("format", "rows", "left out": duplicates and broken rows).
        example: A problem, as a model is asked it.
        floor: What the best trivial answer scores, where the task was audited.
    """

    name: str
    origin: str
    verifier: str | None = None
    version: str | None = None
    num_problems: int | None = Field(default=None, ge=0)
    num_solutions: int | None = Field(default=None, ge=0)
    about: dict[str, str] = Field(default_factory=dict)
    example: str | None = None
    floor: Estimate | None = None


@final
class TraceCounts(Record):
    """How many traces were asked for, how many the verifier let through, and why the rest were dropped.

    Attributes:
        origin: Where they came from ("worked solutions", "teacher's attempts").
        dropped: Reason to count; with ``num_verified`` it adds up to ``num_asked``.
    """

    origin: str
    num_asked: int = Field(ge=0)
    num_verified: int = Field(ge=0)
    dropped: dict[str, int] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.num_verified + sum(self.dropped.values()) != self.num_asked:
            raise ValueError("verified and dropped traces do not add up to those asked for")
        return self


@final
class Inputs(Record):
    """What went in.

    Attributes:
        sources: The models that were given.
    """

    sources: tuple[Source, ...] = ()
    data: tuple[DataInfo, ...] = ()
    traces: tuple[TraceCounts, ...] = ()
