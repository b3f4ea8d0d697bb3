from __future__ import annotations

from pathlib import Path

from told_certificates import certificates_of, right_of

from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.steps.learning.rewards import _arms
from spiritsafe.stats.intervals import score_interval
from spiritsafe.stats.paired import paired_difference


def test_seeds_are_added_up_problem_by_problem(tiny_run: Path, tmp_path: Path) -> None:
    """Two seeds of one way: the real run and its rft control play the second seed."""
    certificates = certificates_of(tiny_run)
    recipe, _ = load_recipe("tiny", ("steps.rl.repeat=2", 'steps.rl.controls=["random"]', 'steps.harvest.from="rl-1"'))
    nodes = [node for node in recipe.nodes if node.entry == "rl"]
    played = {"rl-1": "rl", "rl-2": "teacher", "rl-1-random": "rl-random", "rl-2-random": "rl-format"}
    pool = {name: certificates[other] for name, other in played.items()} | {"teacher": certificates["teacher"]}
    real, random = _arms(nodes, pool)

    def added(first: str, second: str) -> list[int]:
        return [a + b for a, b in zip(right_of(certificates[first]), right_of(certificates[second]), strict=True)]

    both, coins = added("rl", "teacher"), added("rl-random", "rl-format")
    assert len({tuple(both), tuple(coins), tuple(added("rl", "rl"))}) == 3
    twice = [2 * right for right in right_of(certificates["teacher"])]
    assert real.num_seeds == random.num_seeds == 2
    assert real.sealed == score_interval(both, trials=2, confidence=0.95)
    assert real.gain == paired_difference(both, twice, trials=2, confidence=0.95).difference
    assert random.behind == paired_difference(both, coins, trials=2, confidence=0.95).difference
