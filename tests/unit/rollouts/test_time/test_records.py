from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError

from spiritsafe.core.records import Sampling
from spiritsafe.rollouts.test_time.records import (
    METHODS,
    ComputeCurve,
    ComputeLine,
    ComputePoint,
    ModelCompute,
    SelectionMethod,
    flops_of,
)
from spiritsafe.stats.intervals import Estimate

HALF = Estimate(value=0.5, low=0.4, high=0.6, confidence=0.95, n=9, method="m")


def model(name: str, num_parameters: int | None = None) -> ModelCompute:
    point = ComputePoint(num_samples=1, num_tokens=3.0, accuracy=HALF)
    return ModelCompute(
        name=name, digest="d", num_parameters=num_parameters, num_attempts=9, num_unscored=0, num_unparsed=0,
        num_truncated=0, lines=(ComputeLine(method="mean", points=(point,)),),
    )  # fmt: skip


def curve(*models: ModelCompute) -> ComputeCurve:
    return ComputeCurve(task="t", sampling=Sampling(), num_problems=9, num_samples=4, interval="i", models=models)


def test_operations_are_two_a_parameter_and_token() -> None:
    assert flops_of(10.0, 135_000_000) == 2.7e9
    assert flops_of(10.0, None) is None


def test_every_method_is_listed_once() -> None:
    assert set(METHODS) == set(get_args(SelectionMethod))
    assert len(METHODS) == len(set(METHODS))


def test_lines_are_found_by_method() -> None:
    assert model("a").line("mean") == model("a").lines[0]
    assert model("a").line("oracle") is None


def test_a_curve_knows_whether_sizes_are_known_and_survives_json() -> None:
    assert not curve(model("a")).has_flops
    both = curve(model("a"), model("b", 7))
    assert both.has_flops
    assert ComputeCurve.from_json(both.to_json()) == both


def test_names_must_differ() -> None:
    with pytest.raises(ValidationError, match="same name"):
        curve(model("a"), model("a"))
