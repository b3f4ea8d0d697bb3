"""A sitting that may stop early, at registered looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from spiritsafe.exam.designs.design import Design
from spiritsafe.exam.designs.stand import ClaimAnswers, Stand, stand_at_look
from spiritsafe.exam.paper.split import asking_order, look_ends
from spiritsafe.exam.records.result import Decision, HalfResult
from spiritsafe.stats import BettingRule, StopRule


@dataclass(frozen=True)
class Sequential(Design):
    """The paper in parts, each with its share of both halves; between them the claim's test may end the sitting."""

    rule: StopRule | BettingRule

    def order(self) -> tuple[int, ...]:
        """Part after part."""
        return asking_order(self.header, self.rule)

    def ends(self) -> tuple[int, ...]:
        """Behind each part."""
        return look_ends(self.header, self.rule)

    @property
    def sealed_looks(self) -> tuple[int, ...]:
        """The rule's."""
        return self.rule.looks

    def sealed_result(self, sealed: HalfResult, decision: Decision | None) -> HalfResult:
        """With the estimate that the rule's looks are taken out of, where the claim is about the score itself."""
        claim = self.registration.claim
        if decision is None or claim is None or claim.reference is not None:
            return sealed
        return sealed.model_copy(update={"accuracy": decision.estimate})


@final
@dataclass(frozen=True)
class Looks(Sequential):
    """Looks at fixed parts of the paper, with the error rate spent over them."""

    rule: StopRule

    @property
    def spending(self) -> StopRule:
        """The registered one."""
        return self.rule

    def stand(self, answers: ClaimAnswers) -> Stand | None:
        """By the rule's boundaries."""
        return stand_at_look(self.rule, answers)

    @property
    def test_words(self) -> str:
        """The number of looks, and how alpha is spent over them."""
        futility = ", with futility" if self.rule.beta is not None else ""
        return f"{self.rule.num_looks} looks, {self.rule.spending} spending{futility}"
