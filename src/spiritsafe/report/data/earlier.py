"""Reports of the version that knew one task, one base and one exam, read as those of today.

In: the JSON of such a ``report.json``. Out: JSON that :class:`~spiritsafe.report.data.run.ReportData` reads. What has
not changed since is handed on as it is.
"""

from __future__ import annotations

from typing import Any, final

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from spiritsafe.report.data.exam import ExamPart, ExamScore, PublicHalf
from spiritsafe.report.data.inputs import DataInfo
from spiritsafe.report.data.models import Role, Rung
from spiritsafe.stats import Estimate

_EXAM = "exam"


class _Earlier(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    @property
    def rest(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


@final
class _Task(_Earlier):
    name: str


@final
class _Inputs(_Earlier):
    task: _Task


@final
class _Rung(_Earlier):
    name: str
    role: Role
    num_parameters: int
    weight_bytes: int
    tokens_per_s: float | None = None
    sealed: Estimate | None = None
    change: Estimate | None = None
    gain_kept: Estimate | None = None
    public: PublicHalf | None = None


@final
class _MadeRow(_Earlier):
    name: str
    sealed: Estimate | None = None
    gain: Estimate | None = None


@final
class _Report(_Earlier):
    inputs: _Inputs
    ladder: tuple[_Rung, ...] = ()
    made: tuple[_MadeRow, ...] = ()
    exam: dict[str, JsonValue] | None = None
    outcomes: list[JsonValue] = Field(default_factory=list)
    versus: list[JsonValue] = Field(default_factory=list)
    verification: JsonValue = None


def is_earlier(value: object) -> bool:
    """Whether it has the earlier form: there a run's one task was mandatory, and today there is no such key."""
    return isinstance(value, dict) and isinstance(value.get("inputs"), dict) and "task" in value["inputs"]


def lifted(value: object) -> dict[str, Any]:
    """The same report in the form of today.

    Raises:
        ValidationError: It is no report of that version either.
    """
    report = _Report.model_validate(value)
    inputs = report.inputs
    data = DataInfo.model_validate({**inputs.task.rest, "name": "task", "origin": inputs.task.name})
    return {
        **report.rest,
        "inputs": {**inputs.rest, "data": [data.to_json()]},
        "ladder": [_model(rung).to_json() for rung in report.ladder],
        "made": [{**row.rest, "name": row.name} for row in report.made],
        "exams": [] if report.exam is None else [_exam(report, report.exam)],
    }


def _model(rung: _Rung) -> Rung:
    return Rung(name=rung.name, role=rung.role, num_parameters=rung.num_parameters, weight_bytes=rung.weight_bytes)


def _exam(report: _Report, info: dict[str, JsonValue]) -> dict[str, Any]:
    gains = {row.name: row.gain for row in report.made}
    base = next((rung.name for rung in report.ladder if rung.role == "base"), "base")
    scores = [
        ExamScore(
            model=rung.name,
            tokens_per_s=rung.tokens_per_s,
            sealed=rung.sealed,
            change=rung.change,
            against=base if rung.change else None,
            gain=gains.get(rung.name),
            gain_kept=rung.gain_kept,
            public=rung.public,
        )
        for rung in report.ladder
        if rung.sealed is not None
    ]
    part = {
        **info,
        "name": _EXAM,
        "task": report.inputs.task.name,
        "scores": [score.to_json() for score in scores],
        "outcomes": report.outcomes,
        "versus": report.versus,
        "verification": report.verification,
    }
    return ExamPart.model_validate(part).to_json()
