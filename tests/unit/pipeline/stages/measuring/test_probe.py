from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from pipeline_parts import context_after, stage_at

from spiritsafe.core.events import NullSink
from spiritsafe.pipeline.stages.measuring.probe import (
    PassCounts,
    counts_of,
    not_ready,
    pass_points,
    probe_model,
    probes_of,
    tries,
)
from spiritsafe.pipeline.stages.sets import task_of


def counts(*right: int, num_samples: int = 4, formed: int = 4) -> PassCounts:
    return PassCounts(num_samples=num_samples, right=right, formed=(formed,) * len(right))


def test_pass_at_k_is_the_share_of_all_sets_of_tries_with_a_right_one() -> None:
    table = counts(0, 1, 3, 4).passes
    for row, right in zip(table, (0, 1, 3, 4), strict=True):
        for k in (1, 2, 3, 4):
            sets = list(combinations(range(4), k))
            assert row[k - 1] == pytest.approx(np.mean([any(place < right for place in chosen) for chosen in sets]))
    assert counts(0, 1, 3, 4).at(1).value == pytest.approx(8 / 16)


def test_tries_double() -> None:
    assert [tries(n) for n in (1, 2, 8, 12)] == [[1], [1, 2], [1, 2, 4, 8], [1, 2, 4, 8]]


def test_gains_are_paired_by_problem() -> None:
    """Two models that differ by one answer on most problems: the spread of the problems must not widen the gain."""
    right = [number % 8 for number in range(40)]
    more = [count + (place % 5 > 0) for place, count in enumerate(right)]
    (k, first, then, gain), *_ = pass_points([counts(*right, num_samples=8)], [counts(*more, num_samples=8)])
    assert k == 1
    assert gain.value == pytest.approx(0.8 / 8)
    assert then.value - first.value == pytest.approx(gain.value)
    assert 0 < gain.high - gain.low < 0.25 * (first.high - first.low)


def test_seeds_are_averaged_over_the_same_problems() -> None:
    low, high = counts(0, 0, 0, 0), counts(4, 4, 4, 0)
    points = pass_points([low, low], [low, high])
    assert [gain.value for *_, gain in points] == pytest.approx([3 / 8] * 3)


def test_a_model_is_ready_when_it_solves_some_and_writes_well() -> None:
    assert not_ready(counts(0, 0, 4, 4)) == []
    assert ["pass@4 is 20%" in text for text in not_ready(counts(0, 0, 0, 0, 4))] == [True]
    assert ["can be read" in text for text in not_ready(counts(4, 4, formed=3))] == [True]


def test_counts_are_those_of_the_attempts_on_dev_problems(tiny_run: Path, tmp_path: Path) -> None:
    from spiritsafe.rollouts import read_attempts
    from spiritsafe.tasks import split_of

    context = context_after(tiny_run, tmp_path)
    probe = probes_of(context.recipe)["rl", "before"]
    stage = stage_at(tmp_path / "01-before-rl")
    result = probe_model(probe, context, stage, NullSink())
    assert result == context.stage("before-rl").result()
    found, pairs = counts_of(stage), list(read_attempts(stage.path / "attempts"))
    size = probe.size
    assert (len(found.right), found.num_samples) == (size.problems, size.num_samples)
    assert len(pairs) == size.problems * size.num_samples
    task = task_of(context, probe.on)
    problems = {p.id: p for p in task.problems("dev", seed=context.seed("probe"), count=size.problems)}
    assert {split_of(problem) for problem in problems.values()} == {"dev"}
    verdicts = [task.grade(problems[attempt.problem_id], attempt.text).status for attempt, _ in pairs]
    assert sum(found.right) == verdicts.count("correct")
    ended = [v for v, (attempt, _) in zip(verdicts, pairs, strict=True) if attempt.finish_reason == "stop"]
    assert sum(found.formed) == len([status for status in ended if status in ("correct", "wrong")])
