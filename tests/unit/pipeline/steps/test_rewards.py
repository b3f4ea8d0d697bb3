from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spiritsafe.exam import load_certificate
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.pipeline.recipe.graph import nodes_of
from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.steps.rewards import _arms
from spiritsafe.stats.intervals import score_interval
from spiritsafe.stats.paired import paired_difference

SEALED = "sealed"


def certificates_of(run: Path) -> dict[str, Certificate]:
    """The run's certificates, each with right answers of its own: this model hardly gives any."""
    found = {p.name.split(".")[0]: load_certificate(p) for p in run.glob("stages/*-exam/*.certificate.json")}
    return {name: _answering(certificate, place) for place, (name, certificate) in enumerate(sorted(found.items()))}


def _answering(certificate: Certificate, place: int) -> Certificate:
    """By the rank in its half: which places of the bank a half holds is each paper's own chance."""
    rank = dict.fromkeys(("sealed", "public"), 0)
    told = {}
    for outcome in sorted(certificate.result.outcomes, key=lambda o: o.index):
        right = (rank[outcome.half] * 7 + place * place) % 5 < 2 + place % 2
        told[outcome.index] = outcome.model_copy(update={"status": "correct" if right else "wrong"})
        rank[outcome.half] += 1
    outcomes = tuple(told[outcome.index] for outcome in certificate.result.outcomes)
    return certificate.model_copy(update={"result": certificate.result.model_copy(update={"outcomes": outcomes})})


def data_of(run: Path) -> dict[str, Any]:
    return dict(json.loads(next(run.glob("stages/*-report/report.json")).read_text("utf-8")))


def right_of(certificate: Certificate) -> list[int]:
    outcomes = [outcome for outcome in certificate.result.outcomes if outcome.half == SEALED]
    return [int(o.status == "correct") for o in sorted(outcomes, key=lambda o: o.index)]


def test_seeds_are_added_up_problem_by_problem(tiny_run: Path, tmp_path: Path) -> None:
    """Two seeds of one way: the real run and its rft control play the second seed."""
    certificates = certificates_of(tiny_run)
    recipe, _ = load_recipe("tiny", ("steps.0.repeat=2", 'steps.0.controls=["random"]', 'steps.1.from="rl-1"'))
    nodes = [node for node in nodes_of((), recipe.steps) if node.entry == "rl"]
    played = {"rl-1": "rl", "rl-2": "teacher", "rl-1-random": "rl-random", "rl-2-random": "rl-format"}
    pool = {name: certificates[other] for name, other in played.items()} | {"teacher": certificates["teacher"]}
    real, random = _arms(nodes, pool, confidence=0.9)

    def added(first: str, second: str) -> list[int]:
        return [a + b for a, b in zip(right_of(certificates[first]), right_of(certificates[second]), strict=True)]

    both, coins = added("rl", "teacher"), added("rl-random", "rl-format")
    assert len({tuple(both), tuple(coins), tuple(added("rl", "rl"))}) == 3
    twice = [2 * right for right in right_of(certificates["teacher"])]
    assert real.num_seeds == random.num_seeds == 2
    assert real.sealed == score_interval(both, trials=2, confidence=0.9)
    assert real.gain == paired_difference(both, twice, trials=2, confidence=0.9).difference
    assert random.behind == paired_difference(both, coins, trials=2, confidence=0.9).difference
