from __future__ import annotations

import pytest
from exam_parts import Stage, ToyModel

from spiritsafe.exam.designs.looks import Looks
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.paper.split import asking_order, look_ends
from spiritsafe.exam.records.registration import Claim
from spiritsafe.stats.sequential.design import StopRule

STOP = StopRule(num_problems=10, num_looks=5)


@pytest.fixture
def design(stage: Stage) -> Looks:
    claim = Claim(kind="score at least", score=0.5)
    found = design_of(stage.register(ToyModel(), claim=claim, stop=STOP), stage.paper.header)
    assert isinstance(found, Looks)
    return found


def test_part_after_part_until_a_look_says_so(design: Looks) -> None:
    order, ends, looked = design.order(), design.ends(), list[int]()
    assert order == asking_order(design.header, STOP)
    assert ends == look_ends(design.header, STOP) == (4, 8, 12, 16, 20)

    def is_over(look: int) -> bool:
        looked.append(look)
        return look == 3

    asked: list[int] = []
    while not isinstance(following := design.following(asked, {}, is_over), str):
        assert len(following) == 4
        asked += [place for unit in following for place in unit]
    assert (following, looked, tuple(asked)) == ("stopped by rule", [1, 2, 3], order[:12])
    assert design.following(order, {}, is_over) == "complete"
    assert looked == [1, 2, 3]  # behind the last problem nothing is left to stop


def test_its_test_is_named(design: Looks) -> None:
    assert design.test_words == "5 looks, obrien-fleming spending"
    given_up = Looks(design.registration, design.header, STOP.model_copy(update={"beta": 0.1}))
    assert given_up.test_words == "5 looks, obrien-fleming spending, with futility"
    assert (design.num_looks, design.sealed_looks, design.spending) == (5, STOP.looks, STOP)


def test_only_a_claim_about_the_score_changes_the_score(stage: Stage, design: Looks) -> None:
    claim = Claim(kind="score at least", score=0.5)
    result = stage.certificate(ToyModel(), claim=claim, stop=STOP).result
    assert result.decision is not None
    assert result.sealed.accuracy == result.decision.estimate
    plain = result.sealed.model_copy(update={"accuracy": result.public.accuracy})
    assert design.sealed_result(plain, result.decision) == result.sealed
    assert design.sealed_result(plain, None) == plain
    paired = claim.model_copy(update={"reference": "sha256:" + "0" * 64})
    other = Looks(design.registration.model_copy(update={"claim": paired}), design.header, STOP)
    assert other.sealed_result(plain, result.decision) == plain
