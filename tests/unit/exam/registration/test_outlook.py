from __future__ import annotations

import pytest
from exam_parts import ToyModel, make_stage

from spiritsafe.exam.records.registration import Claim
from spiritsafe.exam.registration.outlook import outlook
from spiritsafe.stats.contamination.gap import smallest_leak
from spiritsafe.stats.power import smallest_paired_difference, smallest_score_gain
from spiritsafe.stats.sequential.design import BettingRule, StopRule

DIGEST = "sha256:" + "1" * 64


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return make_stage(tmp_path_factory.mktemp("stage"), count=400)


def test_the_leak_that_will_be_found_is_always_said(stage, tmp_path):
    (sentence,) = outlook(stage.paper.header, stage.register(ToyModel()))
    leak = smallest_leak(200, 200, score=0.5)
    assert f"A leak of {leak:.0%} or more" in sentence
    tiny = make_stage(tmp_path, count=4)
    assert "could go unnoticed" in outlook(tiny.paper.header, tiny.register(ToyModel()))[0]


def test_a_score_to_exceed(stage):
    claim = Claim(kind="score at least", score=0.5, level=0.05)
    sentences = outlook(stage.paper.header, stage.register(ToyModel(), claim=claim, num_tries=2))
    expected = smallest_score_gain(200, threshold=0.5, trials=2, alpha=0.1)
    assert sentences[0] == expected.statement


@pytest.mark.parametrize("stop", [None, StopRule(num_problems=200), BettingRule(num_problems=200)])
def test_a_comparison(stage, stop):
    claim = Claim(kind="better than", reference=DIGEST)
    sentences = outlook(stage.paper.header, stage.register(ToyModel(), claim=claim, stop=stop))
    rule = stop if isinstance(stop, StopRule) else None
    assert sentences[0] == smallest_paired_difference(200, discordance=0.25, rule=rule).statement
    assert len(sentences) == (3 if isinstance(stop, BettingRule) else 2)


def test_a_paper_too_small_for_its_claim(tmp_path):
    tiny = make_stage(tmp_path, count=4)
    claim = Claim(kind="score at least", score=0.9)
    assert "too small for the claim" in outlook(tiny.paper.header, tiny.register(ToyModel(), claim=claim))[0]
