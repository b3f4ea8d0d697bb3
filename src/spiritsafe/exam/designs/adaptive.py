"""A shorter sitting that chooses while it sits: each problem by the answers to those before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from spiritsafe.exam.designs.design import Unit, ended_wrongly
from spiritsafe.exam.designs.short_form import ShortForm
from spiritsafe.exam.paper.split import num_places
from spiritsafe.exam.records.result import Ending, ExamResult
from spiritsafe.stats import is_adaptive_choice, next_place


@final
@dataclass(frozen=True)
class Adaptive(ShortForm):
    """One problem at a time, until they tell enough."""

    how: ClassVar[str] = "each chosen by the answers before it and by"
    wanted: ClassVar[str] = "it knew enough"

    def order(self) -> tuple[int, ...]:
        """None beforehand."""
        return ()

    @property
    def num_expected(self) -> int:
        """It has no length beforehand: half of what it stands for."""
        return self.chosen.num_fixed // 2

    def following(
        self, asked: Sequence[int], right: Mapping[int, int], is_over: Callable[[int], bool]
    ) -> Sequence[Unit] | Ending:
        """What the answers so far call for."""
        del is_over
        answered = {place: right.get(place, 0) for place in asked}
        place = next_place(self.chosen, answered, trials=self.registration.num_tries)
        return self.end if place is None else [(place,)]

    def check_ending(self, result: ExamResult, right: Mapping[int, int], is_over: Callable[[int], bool]) -> str:
        """Each problem is the one that the answers before it call for, and the last is the last."""
        del is_over
        if set(result.not_asked) != set(range(num_places(self.header))) - set(result.asked):
            raise ended_wrongly("The problems left out and those asked are not all of the paper.")
        if result.ending not in (self.end, "budget exhausted"):
            raise ended_wrongly(
                f'The sitting calls itself "{result.ending}", and its problems were chosen by the answers.'
            )
        self._check_budgeted(result)
        is_over_now, trials = result.ending == self.end, self.registration.num_tries
        if not is_adaptive_choice(self.chosen, result.asked, right, trials=trials, is_over=is_over_now):
            raise ended_wrongly(
                "The problems asked are not those that the answers call for by the registered difficulties."
            )
        asked, total = len(result.asked), self.header.num_problems
        return f"{result.ending}: {asked} of {total} problems asked, as the answers called for"

    @property
    def chosen_words(self) -> str:
        """Who had a say in which."""
        return (
            f"; sealed problems chosen by the answers and by {self.chosen.bank.num_sittings} past sittings (whoever "
            "picks those sittings has some say in which)"
        )

    def registered_words(self) -> str:
        """Until when."""
        return (
            f"of {self.header.num_sealed} sealed problems those that the answers call for, until they tell as much as "
            f"{self.chosen.num_fixed} at random"
        )

    def outlook_words(self) -> str:
        """Until when."""
        return (
            f"of {len(self.chosen.bank.names)} sealed problems those that the answers call for, one after the other, "
            f"until the ability is known as precisely as from {self.chosen.num_fixed} at random"
        )
