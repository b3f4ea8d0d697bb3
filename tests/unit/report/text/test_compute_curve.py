from __future__ import annotations

from typing import get_args

import pytest
from compute_parts import example_curve, lonely_curve

from spiritsafe.report.numbers import WIDTH
from spiritsafe.report.text.compute_curve import (
    METHOD_WORDS,
    compute_findings,
    compute_table,
    difference_words,
    method_at,
    tokens_text,
    work_tick,
)
from spiritsafe.rollouts.test_time.records import EqualCost, SelectionMethod, TokensToReach
from spiritsafe.stats.intervals import Estimate


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high, confidence=0.95, n=9, method="m")


def test_every_method_has_words() -> None:
    assert set(METHOD_WORDS) == set(get_args(SelectionMethod))
    assert method_at("majority", 8) == "maj@8"
    assert method_at("greedy", 1) == "greedy"


@pytest.mark.parametrize(
    ("number", "text"), [(9.96, "10.0"), (42.0, "42.0"), (99.96, "100"), (340.2, "340"), (2650.0, "2.65\u00a0k")]
)
def test_tokens(number: float, text: str) -> None:
    assert tokens_text(number) == text


@pytest.mark.parametrize(
    ("number", "text"), [(1e10, "10\u00a0G"), (5e11, "500\u00a0G"), (2.5e12, "2.5\u00a0T"), (300.0, "300")]
)
def test_operations_on_an_axis(number: float, text: str) -> None:
    assert work_tick(number) == text


def test_findings_claim_no_more_than_their_intervals() -> None:
    curve = example_curve()
    model = curve.models[0]
    majority = model.line("majority")
    assert majority is not None

    def said(gain: Estimate) -> str:
        only = model.model_copy(update={"lines": (majority.model_copy(update={"gain": gain}),)})
        (sentence,) = compute_findings(curve.model_copy(update={"models": (only,), "reached": ()}))
        return sentence

    better = said(estimate(0.2, 0.1, 0.3))
    assert better == "base-135M, against one sample: maj@16 +20.0\u00a0points (+10.0 to +30.0)."
    assert "no difference shown" in said(estimate(0.2, -0.1, 0.3))
    assert "more attempts hurt" in said(estimate(-0.2, -0.3, -0.1))
    assert compute_findings(curve)[-1].startswith("endpoint ")


def test_what_it_takes_to_reach_the_base() -> None:
    curve = lonely_curve()
    base = {"model": "b", "base": "a", "num_samples": 16, "target": estimate(0.5, 0.4, 0.6), "base_tokens": 640.0}
    for more, words in (
        ({"num_tokens": 200.0, "low": 120.0, "high": 300.0}, "200 tokens a problem (120 to 300)"),
        ({"num_tokens": 200.0, "low": 120.0}, "(120 and more)"),
        ({}, "does not reach a’s maj@16 (50.0\u00a0%, 640 tokens)"),
    ):
        reached = TokensToReach.model_validate({**base, **more})
        assert words in compute_findings(curve.model_copy(update={"reached": (reached,)}))[-1]


def test_a_difference_in_words() -> None:
    one = EqualCost(
        axis="tokens", cost=320.0, method="majority", first="taught", second="base",
        difference=estimate(0.05, 0.01, 0.09),
    )  # fmt: skip
    assert difference_words(one) == ("taught − base, majority of k at 320 tokens: +5.0\u00a0points (+1.0 to +9.0)")
    assert "3.20\u00a0TFLOP" in difference_words(one.model_copy(update={"axis": "flops", "cost": 3.2e12}))


def test_the_table_shows_every_line_with_its_interval() -> None:
    curve = example_curve()
    text = compute_table(curve)
    assert max(len(line) for line in text.splitlines()) <= WIDTH
    for words in (
        "greedy",
        "one sample",
        "maj@16",
        "stopped early",
        "likelihood@16",
        "self-check@16",
        "oracle pass@16",
    ):
        assert words in text
    rows = [line for line in text.splitlines() if "%" in line and "[" in line]
    assert len(rows) == sum(len(model.lines) for model in curve.models)
    assert "taught-135M − base-135M" in text
    assert "BCa cluster bootstrap" in text
    assert "number of parameters is not known" in text.replace("\n", " ")
    assert "FLOP" in text
    assert "FLOP" not in compute_table(lonely_curve())


def test_hostile_names_stay_text() -> None:
    curve = lonely_curve()
    renamed = curve.models[0].model_copy(update={"name": "a\u202e[red]b\nc"})
    text = compute_table(curve.model_copy(update={"models": (renamed,)}))
    assert "⟨U+202E⟩" in text
    assert "[red]" in text
