"""Shorter sittings of a paper: which problems are asked, and what may be said of the answers.

In: a paper's header, what past sittings taught (:class:`~spiritsafe.exam.records.items.PaperItems`). Out: the problems
for a registration, and checks of them for who verifies. Chosen are sealed problems only, by the rules of
:mod:`spiritsafe.stats.irt.selection`: all beforehand for the middle half of past models, or each by the answers to
those before it.

What a shorter sitting does not do, and why. It decides no claim: claims are about the share of right answers on a
paper, and the prediction of it rests on a model. It does not test for studying: the public half is not asked. Asked as
well, chosen public problems could not be held against chosen sealed ones either: the cut was random, but the choice is
made from past answers to both halves, and past models that studied the public half made its problems look easier than
they are, so that harder ones of it would be chosen and the gap of a model that studied would shrink.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import IntegrityError, ProcedureError
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.entries.registrations import ResultEntry
from spiritsafe.exam.paper.split import halves
from spiritsafe.exam.records.items import PaperItems
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.registration import Registration
from spiritsafe.exam.records.result import ExamResult
from spiritsafe.stats import ChosenProblems, ItemBank, choose_problems, is_choice

LEAST_PAST_SITTINGS = 20
"""Fewer teach difficulties too roughly: the prediction's interval, which takes them as known, would be too narrow."""

NOT_TESTED = (
    "Studying was not tested: only chosen sealed problems were asked, and no public half to hold them against. Whether "
    "the model studied the public half cannot be told from this sitting."
)
"""The gap's statement of a shorter sitting."""


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


def _sealed(header: PaperHeader) -> list[int]:
    return [place for place, half in enumerate(halves(header)) if half == "sealed"]


def _sealed_bank(items: PaperItems, header: PaperHeader) -> ItemBank:
    places = _sealed(header)
    return ItemBank(
        names=tuple(str(place) for place in places),
        difficulties=tuple(items.bank.difficulties[place] for place in places),
        discriminations=tuple(items.bank.discriminations[place] for place in places),
        model=items.bank.model,
        num_sittings=items.bank.num_sittings,
    )


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
    bank = _sealed_bank(items, header)
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
        terms: What is asked for.
        header: The paper's.
        model_digest: Of the model that will sit.
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
    if any(items.times_asked[place] == 0 for place in _sealed(header)):
        raise ProcedureError(
            "Some sealed problems were asked in no past sitting, so their difficulty is not known.",
            hint="Learn difficulties from at least some sittings of the whole paper.",
        )
    return chosen


def _wrong(message: str) -> IntegrityError:
    return IntegrityError(message, hint="Ask the examiner which problems were registered, and why.")


def check_chosen(registration: Registration, header: PaperHeader) -> str:
    """Check that a registration's chosen problems are sealed ones that the rule picks; return that in words.

    Raises:
        IntegrityError: They are others, or the registration promises what a shorter sitting cannot keep.
    """
    chosen = registration.chosen
    if chosen is None:
        return "the whole paper was registered"
    if registration.claim is not None or registration.stop is not None or header.num_twins:
        raise _wrong("A shorter sitting was registered with a claim, a stop rule or twins, which it cannot serve.")
    if chosen.bank.names != tuple(str(place) for place in _sealed(header)):
        raise _wrong("The registered difficulties are not those of this paper's sealed half.")
    if chosen.bank.num_sittings < LEAST_PAST_SITTINGS:
        raise _wrong(f"The difficulties rest on {chosen.bank.num_sittings} sittings, which are too few.")
    if chosen.num_fixed > header.num_sealed or not (chosen.adaptive or is_choice(chosen)):
        raise _wrong("The chosen problems are not those that the rule picks by the registered difficulties.")
    if chosen.adaptive:
        return (
            f"of {header.num_sealed} sealed problems those that the answers call for, until they tell as much as "
            f"{chosen.num_fixed} at random"
        )
    return f"{len(chosen.places)} of {header.num_sealed} sealed problems, as the rule picks them by their difficulty"


def check_chosen_from(items: PaperItems, registration: Registration, header: PaperHeader) -> str:
    """Check that the registered choice is made from this record; return that in words.

    Raises:
        IntegrityError: It is made from another one, or by other numbers.
    """
    chosen = registration.chosen
    if chosen is None:
        raise _wrong("The whole paper was registered: no record of difficulties belongs to it.")
    if chosen.items != items.content_digest:
        raise _wrong("The problems were chosen by another record of difficulties than the one given.")
    if items.paper_id != header.paper_id or chosen.bank != _sealed_bank(items, header):
        raise _wrong("The registered difficulties are not those of the record that they are said to be from.")
    abilities = [sitting.ability.value for sitting in items.sittings]
    if not np.allclose((chosen.lowest, chosen.highest), np.quantile(abilities, (0.25, 0.75)), rtol=0, atol=1e-9):
        raise _wrong("The problems were chosen for other abilities than those of past models.")
    if any(sitting.model_digest == registration.model_digest for sitting in items.sittings):
        raise _wrong("The difficulties were learned from the answers of the model that sat.")
    return f"chosen by difficulties from {len(items.sittings)} sittings, {items.checked} checked ({chosen.items})"


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


def ledger_scores(result: ExamResult) -> dict[str, JSON]:
    """A result's scores as the ledger has them; those of chosen problems under names of their own."""
    if result.predicted is None:
        return {"sealed_accuracy": result.sealed.accuracy.value, "public_accuracy": result.public.accuracy.value}
    return {"chosen_accuracy": result.sealed.accuracy.value, "predicted_score": result.predicted.score.value}
