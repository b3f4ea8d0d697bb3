from __future__ import annotations

import pytest
from pydantic import ValidationError

from spiritsafe.report import MadeRow, Reinforced, ReportData, RoundPoint


def test_the_records_survive_json(steps: ReportData) -> None:
    assert ReportData.from_json(steps.to_json()) == steps


def test_every_estimate_is_counted(data: ReportData, steps: ReportData) -> None:
    (step,) = steps.reinforced
    num_dev = sum(point.dev is not None for run in step.runs for point in run.rounds)
    assert num_dev == 5
    in_steps = 3 * len(step.passes) + 2 + num_dev + 2 * len(step.arms) + 2
    assert len(list(step.estimates())) == in_steps
    num_gains = sum(row.gain is not None for row in steps.made)
    in_ladder = sum(bool(e) for rung in steps.ladder for e in (rung.sealed, rung.change, rung.gain_kept))
    in_ladder -= sum(bool(e) for rung in data.ladder for e in (rung.sealed, rung.change, rung.gain_kept))
    public = 2 * (sum(r.public is not None for r in steps.ladder) - sum(r.public is not None for r in data.ladder))
    assert len(list(steps.estimates())) == len(list(data.estimates())) + in_steps + num_gains + in_ladder + public + 3


def test_what_cannot_be_is_refused(steps: ReportData) -> None:
    with pytest.raises(ValidationError):
        MadeRow(name="x", made_by="reinforced", flops=-1)
    with pytest.raises(ValidationError, match="finite"):
        RoundPoint(round=0, num_tokens=1, entropy=float("nan"))
    value = steps.reinforced[0].to_json()
    with pytest.raises(ValidationError):
        Reinforced.model_validate(value | {"runs": []})
