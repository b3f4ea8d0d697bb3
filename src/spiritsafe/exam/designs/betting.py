"""A sitting that may stop early, when bets against the claim's contrary have won enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from spiritsafe.exam.designs.looks import Sequential
from spiritsafe.exam.designs.stand import ClaimAnswers, Stand
from spiritsafe.stats import BettingRule, bet_on_difference, bet_on_score


@final
@dataclass(frozen=True)
class Betting(Sequential):
    """The stake is looked at between equal parts of the paper."""

    rule: BettingRule

    claim_outlook: ClassVar[tuple[str, ...]] = (
        "Betting finds small differences later than looks at fixed times do, and gross ones sooner.",
    )

    def stand(self, answers: ClaimAnswers) -> Stand:
        """By the stake, which counts at every moment."""
        claim, right, trials, alpha = answers.claim, answers.right, answers.num_tries, self.rule.alpha
        if claim.score is not None or answers.theirs is None:
            found = bet_on_score(right, claim.score or 0.0, trials=trials, alpha=alpha)
        else:
            margin = claim.margin if claim.kind == "better than" else -claim.margin
            found = bet_on_difference(right, answers.theirs, margin=margin, trials=trials, alpha=alpha)
        return Stand(
            look=sum(size <= len(right) for size in self.rule.looks),
            is_over=found.shown or len(right) == self.rule.num_problems,
            is_shown=found.shown,
            p_value=found.p_value,
            estimate=found.estimate,
            statement=f"Bets against the contrary multiplied their stake by {found.e_value:.3g} within "
            f"{found.num_used} problems; {1 / alpha:g} shows the claim.",
        )

    @property
    def test_words(self) -> str:
        """How often the stake is looked at."""
        return f"betting, looked at {self.rule.num_looks} times"
