from __future__ import annotations

import numpy as np
import pytest
from sequential_parts import exact_chance_shown

from spiritsafe.core.errors import NumericalError, ProcedureError
from spiritsafe.stats.intervals import score_interval
from spiritsafe.stats.sequential.decision import PairedClaim, decide_difference, decide_score
from spiritsafe.stats.sequential.design import StopRule, boundaries


def pairs(wins: int, losses: int, ties: int) -> tuple[list[int], list[int]]:
    return [1] * wins + [0] * losses + [1] * ties, [0] * wins + [1] * losses + [1] * ties


def shuffled(first: list[int], second: list[int], seed: int) -> tuple[list[int], list[int]]:
    order = np.random.default_rng(seed).permutation(len(first))
    return [first[i] for i in order], [second[i] for i in order]


def test_it_goes_on_until_its_first_look_and_stops_at_the_end() -> None:
    rule = StopRule(num_problems=100)
    first, second = shuffled(*pairs(20, 20, 60), seed=1)
    early = decide_difference(rule, PairedClaim(), first[:19], second[:19])
    assert (early.decision, early.look, early.estimate) == ("go on", 0, None)
    middle = decide_difference(rule, PairedClaim(), first[:40], second[:40])
    assert (middle.decision, middle.look, middle.p_value) == ("go on", 2, None)
    end = decide_difference(rule, PairedClaim(), first, second)
    assert (end.decision, end.stopped_by, end.num_used) == ("not shown", "end", 100)
    assert end.estimate is not None
    assert end.estimate.low < 0 < end.estimate.high
    assert end.p_value is not None
    assert end.p_value > 0.3


def test_a_gross_difference_stops_early_and_later_answers_change_nothing() -> None:
    rule = StopRule(num_problems=100)
    first, second = shuffled(*pairs(80, 0, 20), seed=2)
    found = decide_difference(rule, PairedClaim(), first, second)
    assert (found.decision, found.stopped_by) == ("better", "boundary")
    assert found.num_used < 100
    cut = found.num_used
    assert decide_difference(rule, PairedClaim(), first[:cut] + [0] * 10, second[:cut] + [1] * 10) == found
    assert found.estimate is not None
    assert found.estimate.low > 0


def test_no_worse_is_what_remains_when_better_is_not_shown() -> None:
    rule = StopRule(num_problems=400)
    claim = PairedClaim(margin=0.0, tolerance=0.1)
    first, second = shuffled(*pairs(20, 20, 360), seed=3)
    assert decide_difference(rule, claim, first, second).decision == "no worse"
    worse, better = shuffled(*pairs(10, 70, 320), seed=3)
    assert decide_difference(rule, claim, worse, better).decision == "not shown"


def test_futility_gives_up_on_a_model_that_is_worse() -> None:
    rule = StopRule(num_problems=200, beta=0.2)
    first, second = shuffled(*pairs(10, 90, 100), seed=4)
    found = decide_difference(rule, PairedClaim(), first, second)
    assert (found.decision, found.stopped_by) == ("not shown", "futility")
    assert found.num_used < 200


def test_one_look_at_a_score_is_the_interval_of_the_exam() -> None:
    rule = StopRule(num_problems=60, num_looks=1)
    for right in range(20, 61, 4):
        counts = [1] * right + [0] * (60 - right)
        shown = decide_score(rule, 0.5, counts).decision == "reached"
        assert shown == (score_interval(counts, trials=1, confidence=0.95).low > 0.5)


@pytest.mark.parametrize("discordance", [0.1, 0.4])
def test_the_level_holds_over_all_looks_by_summing_every_path(discordance: float) -> None:
    rule = StopRule(num_problems=100)
    seen: dict[tuple[int, int, int], float] = {}

    def statistic(counts: np.ndarray) -> np.ndarray:
        from spiritsafe.stats.sequential.score_statistics import PairedEvidence

        values = []
        for losses, ties, wins in counts.tolist():
            key = (losses, ties, wins)
            if key not in seen:
                first, second = pairs(wins, losses, ties)
                seen[key] = PairedEvidence.of(first, second, trials=1, margin=0.0).z(0.0, "upper")
            values.append(seen[key])
        return np.array(values)

    looks = rule.looks[:3]  # later looks cost minutes to enumerate and spend the rest of the level
    chance = exact_chance_shown(looks, boundaries(rule).upper_K[:3], statistic, discordance / 2, discordance / 2)
    assert chance <= rule.alpha


def test_impossible_answers_are_refused() -> None:
    rule = StopRule(num_problems=10)
    with pytest.raises(NumericalError):
        decide_difference(rule, PairedClaim(), [1], [1, 0])
    with pytest.raises(ProcedureError):
        decide_difference(rule, PairedClaim(), [1] * 11, [0] * 11)
    with pytest.raises(NumericalError):
        decide_score(rule, 1.0, [1])
