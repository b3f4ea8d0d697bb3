"""Shorter sittings of a paper: which problems are asked, and what may be said of the answers.

In: a paper's header, what past sittings taught (:class:`~spiritsafe.exam.records.items.PaperItems`). Out: the problems
for a registration, and checks of them for who verifies. Chosen are sealed problems only, by the rules of
:mod:`spiritsafe.stats.irt.selection`: all beforehand for the middle half of past models, or each by the answers to
those before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from spiritsafe.core.errors import ProcedureError
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam.designs.short_form import LEAST_PAST_SITTINGS, sealed_bank, sealed_places
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.entries.registrations import ResultEntry
from spiritsafe.exam.records.items import PaperItems
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.stats import ChosenProblems, choose_problems


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ShorterTerms:
    """What a maker asks for who registers a shorter sitting.

    Attributes:
        items: What past sittings taught.
        num_fixed: The chosen problems shall tell as much as so many of the sealed half, drawn at random.
        adaptive: Choose each by the answers to those before it, instead of all beforehand.
    """

    items: PaperItems
    num_fixed: int
    adaptive: bool = False


def _choose(items: PaperItems, header: PaperHeader, num_fixed: int, *, adaptive: bool = False) -> ChosenProblems:
    if items.paper_id != header.paper_id or len(items.times_asked) != header.num_problems:
        raise ProcedureError(
            "These difficulties are of another paper.", hint="Learn them from sittings of this one: `exam items`."
        )
    if not 0 < num_fixed <= header.num_sealed:
        raise ProcedureError(
            f"The sealed half has {header.num_sealed} problems; {num_fixed} cannot be drawn from it.",
            hint="Ask for a precision between that of one problem and that of the whole half.",
        )
    abilities = [sitting.ability.value for sitting in items.sittings]
    lowest, highest = (float(value) for value in np.quantile(abilities, (0.25, 0.75)))
    bank = sealed_bank(items, header)
    digest = items.content_digest
    return choose_problems(bank, num_fixed, lowest=lowest, highest=highest, items=digest, adaptive=adaptive)


def shorter_statement(items: PaperItems, header: PaperHeader, num_fixed: int) -> str:
    """How many chosen problems do for so many at random, in plain words.

    Raises:
        ProcedureError: The difficulties are of another paper, or the sealed half is smaller than ``num_fixed``.
    """
    chosen = _choose(items, header, num_fixed)
    few = ""
    if len(items.sittings) < LEAST_PAST_SITTINGS:
        few = f" To register such a sitting takes {LEAST_PAST_SITTINGS} past ones; these are {len(items.sittings)}."
    return (
        f"{len(chosen.places)} chosen problems of the sealed half measure abilities from {chosen.lowest:+.2f} to "
        f"{chosen.highest:+.2f} (the middle half of these models) as precisely as {num_fixed} of its "
        f"{header.num_sealed} drawn at random, if the item model holds.{few}"
    )


def choose_for(
    terms: ShorterTerms, header: PaperHeader, *, model_digest: str, promised: Sequence[str]
) -> ChosenProblems:
    """The problems that a registration names.

    Args:
        promised: What else is promised that only a whole paper can keep: a claim, a stop rule.

    Raises:
        ProcedureError: A shorter sitting cannot be held on these terms.
    """
    if promised:
        raise ProcedureError(
            f"A shorter sitting cannot keep {' and '.join(promised)}: what it says of the score rests on a model of "
            "the problems' difficulty, and a claim is decided by answers alone.",
            hint="Leave the claim and the stop rule out, or register for the whole paper.",
        )
    if header.num_twins:
        raise ProcedureError(
            "This paper has twins, and a shorter sitting would ask none.", hint="Register for the whole paper."
        )
    items = terms.items
    if len(items.sittings) < LEAST_PAST_SITTINGS:
        raise ProcedureError(
            f"Difficulties from {len(items.sittings)} past sittings are too rough for a shorter one.",
            hint=f"Register for the whole paper until {LEAST_PAST_SITTINGS} models sat it.",
        )
    chosen = _choose(items, header, terms.num_fixed, adaptive=terms.adaptive)
    if any(sitting.model_digest == model_digest for sitting in items.sittings):
        raise ProcedureError(
            "The difficulties were learned from this very model too, and its answers would choose its own problems.",
            hint="Learn them again without its certificates: `exam items`.",
        )
    if any(items.times_asked[place] == 0 for place in sealed_places(header)):
        raise ProcedureError(
            "Some sealed problems were asked in no past sitting, so their difficulty is not known.",
            hint="Learn difficulties from at least some sittings of the whole paper.",
        )
    return chosen


def check_on_record(items: PaperItems, log: PaperLog) -> None:
    """Check that the sittings which difficulties were learned from have results of the examiner in a ledger.

    Raises:
        ProcedureError: One has none.
    """
    results = {result.sitting for result in log.of(ResultEntry)}
    for sitting in items.sittings:
        if sitting.registration not in results:
            raise ProcedureError(
                f"The sitting of {quoted_name(sitting.model_name)} that difficulties were learned from is not in this "
                "ledger.",
                hint="Learn them from certificates of sittings that are on record here.",
            )
