from __future__ import annotations

from exam_parts import Stage, ToyModel

from spiritsafe.exam.designs.betting import Betting
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.designs.stand import ClaimAnswers
from spiritsafe.exam.records.registration import Claim
from spiritsafe.stats import bet_on_difference, bet_on_score
from spiritsafe.stats.sequential.design import BettingRule

CLAIM = Claim(kind="score at least", score=0.5)
RULE = BettingRule(num_problems=10, num_looks=5)


def betting(stage: Stage) -> Betting:
    design = design_of(stage.register(ToyModel(), claim=CLAIM, stop=RULE), stage.paper.header)
    assert isinstance(design, Betting)
    return design


def test_the_stake_decides(stage: Stage) -> None:
    design, right = betting(stage), [1] * 10
    bet = bet_on_score(right, 0.5, trials=1, alpha=RULE.alpha)
    stand = design.stand(ClaimAnswers(CLAIM, right, None, 1, 2))
    assert (stand.p_value, stand.is_shown, stand.is_over, stand.look) == (bet.p_value, bet.shown, True, 5)
    assert design.stand(ClaimAnswers(CLAIM, [0, 1, 0, 1], None, 1, 2)).look == 2
    assert not design.stand(ClaimAnswers(CLAIM, [0, 1, 0, 1], None, 1, 2)).is_over


def test_a_margin_is_a_loss_that_may_be_where_it_must_be_no_worse(stage: Stage) -> None:
    right, theirs = [1, 1, 0, 1, 1, 1], [0, 1, 0, 0, 1, 0]
    for kind, margin in (("better than", 0.1), ("no worse than", -0.1)):
        claim = Claim(kind=kind, reference="sha256:" + "0" * 64, margin=0.1)  # type: ignore[arg-type]
        stand = betting(stage).stand(ClaimAnswers(claim, right, theirs, 1, 2))
        assert stand.p_value == bet_on_difference(right, theirs, margin=margin, trials=1, alpha=RULE.alpha).p_value


def test_its_words(stage: Stage) -> None:
    design = betting(stage)
    assert design.test_words == "betting, looked at 5 times"
    assert design.spending is None
    assert len(design.claim_outlook) == 1
