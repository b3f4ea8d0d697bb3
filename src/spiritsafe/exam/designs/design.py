"""A sitting design, and the plainest of them: the whole paper, in its own random order.

In: a registration and its paper's header. Out: the answers of every room that has to know how a sitting is held: what
is asked next, whether it ended where it had to, what its numbers are and are called. What another design answers
otherwise stands in its own file; :func:`~spiritsafe.exam.designs.registered.design_of` tells which one is registered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.designs.stand import ClaimAnswers, Stand, stand_at_look
from spiritsafe.exam.paper.split import asking_order, num_places
from spiritsafe.exam.records.items import PaperItems
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.registration import Registration
from spiritsafe.exam.records.result import Decision, Ending, ExamResult, HalfResult
from spiritsafe.stats import PredictedScore, StopRule

Unit = tuple[int, ...]
"""Places that are asked together: a problem, and its twin."""


def ended_wrongly(message: str) -> IntegrityError:
    """A sitting that did not end where its design says."""
    return IntegrityError(message, hint="Ask the examiner why the sitting ended as it did.")


@dataclass(frozen=True)
class Design:
    """The whole paper, without a look before its end.

    Attributes:
        end: What a sitting calls itself that asked all that its design asks.
        is_whole: Only the design's own answers, or a budget, leave problems of the paper out.
        asked_name: What the sealed problems asked are.
        accuracy_name: What their share of right answers is.
        left_out_words: Why a sitting that left problems out did so.
        not_tested: Why studying was not tested; empty: it was.
        needs_items: It was made from a record of past sittings.
        claim_outlook: Further sentences on what to hope of the claim's test.
    """

    registration: Registration
    header: PaperHeader

    end: ClassVar[Ending] = "complete"
    is_whole: ClassVar[bool] = True
    asked_name: ClassVar[str] = "sealed half"
    accuracy_name: ClassVar[str] = "sealed accuracy"
    left_out_words: ClassVar[str] = "its own answers ended its sitting."
    not_tested: ClassVar[str] = ""
    needs_items: ClassVar[bool] = False
    claim_outlook: ClassVar[tuple[str, ...]] = ()

    # Before the sitting

    @property
    def chosen_words(self) -> str:
        """How its problems were chosen, told behind what else was fixed before the first question."""
        return ""

    def check_registered(self) -> str:
        """Check that the design can be held as registered; return it in words, empty for a whole paper.

        Raises:
            IntegrityError: It cannot, or promises what it cannot keep.
        """
        return ""

    def check_items(self, items: PaperItems) -> str:
        """Check that the design is made from this record of past sittings; return that in words.

        Raises:
            IntegrityError: It is not.
        """
        del items
        raise IntegrityError(
            "The whole paper was registered: no record of difficulties belongs to it.",
            hint="Ask the examiner which problems were registered, and why.",
        )

    def outlook(self) -> str:
        """What it can show, where that is not a matter of the claim and of the cut."""
        return ""

    # The sitting

    def order(self) -> tuple[int, ...]:
        """Places in the order in which they are asked, twins too; empty where each depends on the answers before it."""
        return asking_order(self.header)

    def ends(self) -> tuple[int, ...]:
        """After how many problems (twins not counted) the sitting may end by itself, ascending."""
        return (self.header.num_problems,)

    @property
    def sealed_looks(self) -> tuple[int, ...]:
        """After how many sealed problems a claim is looked at."""
        return (self.header.num_sealed,)

    @property
    def spending(self) -> StopRule | None:
        """By which rule the claim's error rate is spent; None: all of it at the end, or by no looks."""
        return None

    @property
    def num_looks(self) -> int:
        """How often the claim is looked at."""
        return len(self.sealed_looks)

    @property
    def num_expected(self) -> int:
        """Problems that it asks at least, twins not counted, as far as that is known before."""
        return len(self.units())

    def units(self) -> list[Unit]:
        """In asking order; none where each is chosen by the answers before."""
        order, size = self.order(), self.unit_size
        return [order[at : at + size] for at in range(0, len(order), size)]

    @property
    def unit_size(self) -> int:
        """Places asked together."""
        return 2 if self.header.num_twins else 1

    def following(
        self, asked: Sequence[int], right: Mapping[int, int], is_over: Callable[[int], bool]
    ) -> Sequence[Unit] | Ending:
        """What is asked behind these places, or why the sitting ends here; ``is_over`` as in :meth:`check_ending`."""
        units, ends, num_asked = self.units(), self.ends(), len(asked) // self.unit_size
        if num_asked == len(units):
            return self.end
        if num_asked in ends and is_over(1 + ends.index(num_asked)):
            return "stopped by rule"
        return units[num_asked : next(end for end in ends if end > num_asked)]

    def check_ending(self, result: ExamResult, right: Mapping[int, int], is_over: Callable[[int], bool]) -> str:
        """Check that a sitting ended where it had to; return that in words.

        Args:
            right: Right answers by place.
            is_over: Whether the claim's test is over at the look of this number (from 1).

        Raises:
            IntegrityError: It left out others than the last problems, or the rule says otherwise.
        """
        if result.asked:
            raise ended_wrongly("The result says in which order problems were chosen, and the order was fixed before.")
        size, order, ends = self.unit_size, self.order(), self.ends()
        num_asked = self.header.num_problems - len(result.not_asked) // size
        if set(result.not_asked) != set(range(num_places(self.header))) - set(order[: num_asked * size]):
            raise ended_wrongly(
                "The problems left out are not the last ones of the paper's own order: they were picked."
            )
        named = (self.end, "stopped by rule", "budget exhausted")
        if (result.ending == self.end) != (num_asked * size == len(order)) or result.ending not in named:
            raise ended_wrongly(
                f'The sitting calls itself "{result.ending}" and left out {len(result.not_asked)} problems.'
            )
        if result.ending == "stopped by rule" and num_asked not in ends[:-1]:
            raise ended_wrongly("The sitting was stopped where no look was registered.")
        self._check_budgeted(result)
        for look, end in enumerate(ends[:-1], start=1):
            if end > num_asked:
                break
            stops = is_over(look)
            if stops != (result.ending == "stopped by rule" and end == num_asked):
                raise ended_wrongly(
                    f"At look {look} the registered rule says to {'stop' if stops else 'go on'}, and the sitting did "
                    "not."
                )
        return f"{result.ending}: {num_asked} of {self.header.num_problems} problems asked"

    def _check_budgeted(self, result: ExamResult) -> None:
        if result.ending == "budget exhausted" and self.registration.budget is None:
            raise ended_wrongly("The sitting ran out of a budget that was never registered.")

    # Its numbers

    def stand(self, answers: ClaimAnswers) -> Stand | None:
        """Where the claim's test stands with these answers, at least one look's; None: nothing can be said yet."""
        claim = answers.claim
        return stand_at_look(StopRule(num_problems=self.header.num_sealed, num_looks=1, alpha=claim.level), answers)

    @property
    def test_words(self) -> str:
        """How the claim is tested."""
        return "one look at the whole paper"

    def sealed_result(self, sealed: HalfResult, decision: Decision | None) -> HalfResult:
        """The sealed half's numbers, as the design has to give them."""
        del decision
        return sealed

    def predict(self, right: Mapping[int, int]) -> PredictedScore | None:
        """The score of the whole sealed half, where it is not measured."""
        del right
        return None

    def ledger_scores(self, result: ExamResult) -> dict[str, JSON]:
        """A result's scores as the ledger has them."""
        return {"sealed_accuracy": result.sealed.accuracy.value, "public_accuracy": result.public.accuracy.value}

    # Its words

    def statements(self, result: ExamResult) -> list[str]:
        """What a certificate says of what was asked, and why no more."""
        if result.ending == "complete":
            return []
        why = "its registered stop rule" if result.ending == "stopped by rule" else "its exhausted budget"
        total, left_out = num_places(self.header), len(result.not_asked)
        return [
            f"The sitting was ended by {why}: {total - left_out} of {total} problems were asked, in the paper's own "
            f"random order; {left_out} were not asked."
        ]

    def changed_scores(self, before: ExamResult, after: ExamResult) -> str:
        """What an edit of grades changed."""
        return (
            f"sealed score {before.sealed.accuracy.value:.1%} → {after.sealed.accuracy.value:.1%}, public "
            f"{before.public.accuracy.value:.1%} → {after.public.accuracy.value:.1%}"
        )

    def recomputed(self, result: ExamResult) -> str:
        """The score that a verification computed again."""
        accuracy, registration = result.sealed.accuracy, self.registration
        first_rule = "; by the first rule of intervals, too narrow where several tries were asked at few problems"
        narrow = first_rule if registration.intervals == 1 and registration.num_tries > 1 else ""
        return f"sealed accuracy {accuracy.value:.3f} ({accuracy.low:.3f} to {accuracy.high:.3f}), recomputed{narrow}"

    def counted(self, result: ExamResult, counts: str) -> str:
        """Which tries count, given their counts in words."""
        return f"{len(result.outcomes)} tries: {counts}; only correct ones count{self._left_out(result)}"

    def _left_out(self, result: ExamResult) -> str:
        return f"; {len(result.not_asked)} problems not asked" if result.not_asked else ""
