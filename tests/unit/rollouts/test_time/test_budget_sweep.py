from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scripted_generator import Scripted

from spiritsafe.core.errors import RecipeError
from spiritsafe.core.records import Prompt, Sampling
from spiritsafe.rollouts.test_time.budget_forcing import BudgetForcing
from spiritsafe.rollouts.test_time.budget_sweep import BudgetSweep, budgets, sweep_budgets
from spiritsafe.tasks import load_task

TASK = load_task("arith:sums?terms=2&digits=1")
PROBLEMS = list(TASK.problems("train", seed=2, count=8))
GOLDS = {problem.id: str(problem.facts["answer"]) for problem in PROBLEMS}


def test_every_cap_plain_and_the_largest_with_waits() -> None:
    found = [(one.cap, one.num_waits, one.think_end) for one in budgets([32, 8, 8], (0, 2, 1), think_end="")]
    assert found == [(8, 0, ""), (32, 0, ""), (32, 1, ""), (32, 2, "")]
    with pytest.raises(RecipeError):
        budgets([])


def mind(given: Prompt) -> str:
    """Thinks for 40 tokens; the more it has thought, the more of the problems it knows."""
    if "</think>" not in given.prefix:
        return "~" * 40 + "</think>"
    knows = given.prefix.count("~") > 5 * list(GOLDS).index(given.problem_id)
    return f" #### {GOLDS[given.problem_id] if knows else 99}"


def sweep(directory: Path, generator: Scripted, caps: tuple[int, ...] = (10, 30, 60)) -> BudgetSweep:
    return sweep_budgets(
        TASK, PROBLEMS, generator, Sampling(temperature=1.0, max_tokens=1), budgets(caps, (0,)),
        answer_tokens=12, num_samples=2, seed=5, directory=directory,
    )  # fmt: skip


def test_the_three_measures_by_hand(tmp_path: Path) -> None:
    found = sweep(tmp_path, Scripted(mind))
    right = [sum(length > 5 * i for i in range(8)) for length in (10, 30, 40)]
    assert [point.accuracy.value for point in found.points] == [count / 8 for count in right] == [2 / 8, 6 / 8, 1.0]
    answers = np.mean([len(f" #### {gold}") + 1 for gold in GOLDS.values()])
    assert found.points[2].num_tokens == pytest.approx(48 + answers)
    assert [point.forced for point in found.points] == [1.0, 1.0, 0.0]
    assert [point.control for point in found.points] == [1.0, 1.0, 1.0]
    assert found.control == 1.0
    tokens = [point.num_tokens for point in found.points]
    scores = [2 / 8, 6 / 8, 1.0]
    slopes = [(scores[b] - scores[a]) / (tokens[b] - tokens[a]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert found.slope is not None
    assert found.slope.value == pytest.approx(1000 * np.mean(slopes))
    assert 0 < found.slope.low < found.slope.value < found.slope.high
    assert found.best == found.points[2]


def test_repeating_the_sweep_draws_nothing_again(tmp_path: Path) -> None:
    first = sweep(tmp_path, Scripted(mind))
    again = Scripted(mind)
    assert sweep(tmp_path, again) == first
    assert again.calls == []
    assert len(list(tmp_path.iterdir())) == 3


def test_thinking_that_hurts_has_a_slope_below_zero(tmp_path: Path) -> None:
    def confused(given: Prompt) -> str:
        if "</think>" not in given.prefix:
            return "~" * 99
        return f" #### {GOLDS[given.problem_id] if given.prefix.count('~') < 20 else 99}"

    found = sweep(tmp_path, Scripted(confused), (10, 30))
    assert found.slope is not None
    assert found.slope.high < 0
    assert found.best.budget == BudgetForcing(cap=10)


def test_one_budget_has_no_slope(tmp_path: Path) -> None:
    assert sweep(tmp_path, Scripted(mind), (10,)).slope is None


def test_impossible_sweeps_are_refused(tmp_path: Path) -> None:
    for settings in ([], [BudgetForcing(cap=3), BudgetForcing(cap=3)]):
        with pytest.raises(RecipeError):
            sweep_budgets(
                TASK, PROBLEMS, Scripted(mind), Sampling(), settings,
                answer_tokens=4, num_samples=1, seed=0, directory=tmp_path,
            )  # fmt: skip
