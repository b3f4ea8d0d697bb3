"""A shorter sitting: only sealed problems that past sittings chose, all beforehand for the middle half of past models.

What a shorter sitting does not do, and why. It decides no claim: claims are about the share of right answers on a
paper, and the prediction of it rests on a model. It does not test for studying: the public half is not asked. Asked as
well, chosen public problems could not be held against chosen sealed ones either: the cut was random, but the choice is
made from past answers to both halves, and past models that studied the public half made its problems look easier than
they are, so that harder ones of it would be chosen and the gap of a model that studied would shrink.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.designs.design import Design
from spiritsafe.exam.paper.split import halves, num_places
from spiritsafe.exam.records.items import PaperItems
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.result import Decision, Ending, ExamResult, HalfResult
from spiritsafe.stats import CHOSEN_METHOD, ChosenProblems, Estimate, ItemBank, PredictedScore, is_choice, predict_score

LEAST_PAST_SITTINGS = 20
"""Fewer teach difficulties too roughly: the prediction's interval, which takes them as known, would be too narrow."""


def sealed_places(header: PaperHeader) -> list[int]:
    """The sealed half's, ascending."""
    return [place for place, half in enumerate(halves(header)) if half == "sealed"]


def sealed_bank(items: PaperItems, header: PaperHeader) -> ItemBank:
    """What past sittings taught of the sealed half."""
    places = sealed_places(header)
    return ItemBank(
        names=tuple(str(place) for place in places),
        difficulties=tuple(items.bank.difficulties[place] for place in places),
        discriminations=tuple(items.bank.discriminations[place] for place in places),
        model=items.bank.model,
        num_sittings=items.bank.num_sittings,
    )


def _wrong(message: str) -> IntegrityError:
    return IntegrityError(message, hint="Ask the examiner which problems were registered, and why.")


def _predicted(result: ExamResult) -> PredictedScore:
    if result.predicted is None:
        raise _wrong("The result leaves out the score that its chosen problems predict.")
    return result.predicted


@dataclass(frozen=True)
class ShortForm(Design):
    """Problems chosen by past sittings' difficulties; an item model predicts the score of the sealed half."""

    chosen: ChosenProblems

    end: ClassVar[Ending] = "chosen problems asked"
    is_whole: ClassVar[bool] = False
    asked_name: ClassVar[str] = "chosen problems of the sealed half"
    accuracy_name: ClassVar[str] = "accuracy of the chosen problems"
    left_out_words: ClassVar[str] = "only chosen problems."
    not_tested: ClassVar[str] = (
        "Studying was not tested: only chosen sealed problems were asked, and no public half to hold them against. "
        "Whether the model studied the public half cannot be told from this sitting."
    )
    needs_items: ClassVar[bool] = True
    how: ClassVar[str] = "that were chosen before by"
    wanted: ClassVar[str] = "all chosen ones were asked"

    def order(self) -> tuple[int, ...]:
        """As registered."""
        return self.chosen.places

    def ends(self) -> tuple[int, ...]:
        """Behind all of them."""
        return (len(self.chosen.places),)

    @property
    def chosen_words(self) -> str:
        """Who had a say in which."""
        return (
            f"; {len(self.chosen.places)} sealed problems chosen by {self.chosen.bank.num_sittings} past sittings "
            "(whoever picks those sittings has some say in which)"
        )

    def registered_words(self) -> str:
        """How many."""
        return (
            f"{len(self.chosen.places)} of {self.header.num_sealed} sealed problems, as the rule picks them by their "
            "difficulty"
        )

    def outlook_words(self) -> str:
        """How many, and how precise they are."""
        chosen = self.chosen
        return (
            f"{len(chosen.places)} chosen problems of {len(chosen.bank.names)} sealed ones, as precise as "
            f"{chosen.num_fixed} at random for the abilities that they were chosen for"
        )

    def outlook(self) -> str:
        """What a prediction can show."""
        return (
            f"A shorter sitting: {self.outlook_words()}. It will predict the score of the sealed half, not measure it, "
            "decide no claim, and not test for studying."
        )

    def check_registered(self) -> str:
        """Check that the chosen problems are sealed ones that the rule picks; return that in words.

        Raises:
            IntegrityError: They are others, or the registration promises what a shorter sitting cannot keep.
        """
        registration, header, chosen = self.registration, self.header, self.chosen
        if registration.claim is not None or registration.stop is not None or header.num_twins:
            raise _wrong("A shorter sitting was registered with a claim, a stop rule or twins, which it cannot serve.")
        if chosen.bank.names != tuple(str(place) for place in sealed_places(header)):
            raise _wrong("The registered difficulties are not those of this paper's sealed half.")
        if chosen.bank.num_sittings < LEAST_PAST_SITTINGS:
            raise _wrong(f"The difficulties rest on {chosen.bank.num_sittings} sittings, which are too few.")
        if chosen.num_fixed > header.num_sealed or not (chosen.adaptive or is_choice(chosen)):
            raise _wrong("The chosen problems are not those that the rule picks by the registered difficulties.")
        return f"a shorter sitting: {self.registered_words()}"

    def check_items(self, items: PaperItems) -> str:
        """Check that the choice is made from this record; return that in words.

        Raises:
            IntegrityError: It is made from another one, or by other numbers.
        """
        chosen, header = self.chosen, self.header
        if chosen.items != items.content_digest:
            raise _wrong("The problems were chosen by another record of difficulties than the one given.")
        if items.paper_id != header.paper_id or chosen.bank != sealed_bank(items, header):
            raise _wrong("The registered difficulties are not those of the record that they are said to be from.")
        abilities = [sitting.ability.value for sitting in items.sittings]
        if not np.allclose((chosen.lowest, chosen.highest), np.quantile(abilities, (0.25, 0.75)), rtol=0, atol=1e-9):
            raise _wrong("The problems were chosen for other abilities than those of past models.")
        if any(sitting.model_digest == self.registration.model_digest for sitting in items.sittings):
            raise _wrong("The difficulties were learned from the answers of the model that sat.")
        return f"chosen by difficulties from {len(items.sittings)} sittings, {items.checked} checked ({chosen.items})"

    def sealed_result(self, sealed: HalfResult, decision: Decision | None) -> HalfResult:
        """With a method that says what the numbers are of."""
        del decision

        def labelled(estimate: Estimate | None) -> Estimate | None:
            return estimate and estimate.model_copy(update={"method": f"{estimate.method}, {CHOSEN_METHOD}"})

        return sealed.model_copy(
            update={"accuracy": labelled(sealed.accuracy), "answered_accuracy": labelled(sealed.answered_accuracy)}
        )

    def predict(self, right: Mapping[int, int]) -> PredictedScore:
        """By the item model."""
        return predict_score(self.chosen, right, trials=self.registration.num_tries)

    def ledger_scores(self, result: ExamResult) -> dict[str, JSON]:
        """Under names of their own."""
        return {"chosen_accuracy": result.sealed.accuracy.value, "predicted_score": _predicted(result).score.value}

    def statements(self, result: ExamResult) -> list[str]:
        """What is to be said where only chosen problems were asked."""
        total, left_out, accuracy = num_places(self.header), len(result.not_asked), result.sealed.accuracy
        ran_out = result.ending == "budget exhausted"
        early = f" Its exhausted budget ended it before {self.wanted}." if ran_out else ""
        return [
            f"A shorter sitting: {total - left_out} of {total} problems were asked, sealed ones {self.how} past "
            f"sittings' answers; {left_out} were not asked.{early}",
            f"Of the chosen problems {accuracy.value:.1%} were solved ({accuracy.low:.1%} to {accuracy.high:.1%}). "
            "They are no random part of the paper: this is not its score, and cannot be compared with one.",
            _predicted(result).statement,
        ]

    def changed_scores(self, before: ExamResult, after: ExamResult) -> str:
        """The prediction, and what it stands on."""
        return (
            f"predicted score {_predicted(before).score.value:.1%} → {_predicted(after).score.value:.1%}, accuracy of "
            f"the chosen problems {before.sealed.accuracy.value:.1%} → {after.sealed.accuracy.value:.1%}"
        )

    def recomputed(self, result: ExamResult) -> str:
        """The prediction, and what it stands on."""
        score = _predicted(result).score
        return (
            f"predicted on the whole sealed half {score.value:.3f} ({score.low:.3f} to {score.high:.3f}), by the item "
            f"model; of the chosen problems {result.sealed.accuracy.value:.3f}, which is no score of the paper; "
            "recomputed"
        )

    def counted(self, result: ExamResult, counts: str) -> str:
        """Not every problem of the paper."""
        return (
            f"a shorter sitting: only chosen problems were asked, {counts}{self._left_out(result)}. "
            f"{_predicted(result).statement}"
        )
