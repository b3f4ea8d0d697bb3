"""The outlook: what a sitting can show, said before anybody sits it.

In: a paper's header, a registration. Out: sentences: the smallest difference that the claim's test will probably find,
and the smallest leak of the public half that the public-sealed test will. They rest on what is assumed of scores and
disagreement, and say so.
"""

from __future__ import annotations

from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.registration import Registration
from spiritsafe.stats import StopRule, smallest_leak, smallest_paired_difference, smallest_score_gain

_DISCORDANCE = 0.25  # share of problems on which exactly one of two compared models is right
_SCORE = 0.5


def outlook(header: PaperHeader, registration: Registration) -> tuple[str, ...]:
    """What may be hoped for, in plain words."""
    sentences = []
    claim, tries, stop = registration.claim, registration.num_tries, registration.stop
    if claim is not None:
        rule = stop if isinstance(stop, StopRule) else None
        found = (
            smallest_score_gain(header.num_sealed, threshold=claim.score, trials=tries, alpha=2 * claim.level)
            if claim.score is not None
            else smallest_paired_difference(
                header.num_sealed, discordance=_DISCORDANCE, trials=tries, alpha=2 * claim.level, rule=rule
            )
        )
        sentences.append(found.statement if found else "This paper is too small for the claim: no truth would show.")
        if stop is not None and rule is None:
            sentences.append(
                "Betting finds small differences later than looks at fixed times do, and gross ones sooner."
            )
    if registration.chosen is not None:
        chosen, total = registration.chosen, len(registration.chosen.bank.names)
        which = (
            f"of {total} sealed problems those that the answers call for, one after the other, until the ability is "
            f"known as precisely as from {chosen.num_fixed} at random"
            if chosen.adaptive
            else f"{len(chosen.places)} chosen problems of {total} sealed ones, as precise as {chosen.num_fixed} at "
            "random for the abilities that they were chosen for"
        )
        return (
            f"A shorter sitting: {which}. It will predict the score of the sealed half, not measure it, decide no "
            "claim, and not test for studying.",
        )
    num_looks = stop.num_looks if stop else 1
    leak = smallest_leak(header.num_public, header.num_sealed, score=_SCORE, trials=tries, alpha=0.05 / num_looks)
    sentences.append(
        "Studying could go unnoticed: a paper of this size could miss even a full leak of the public half."
        if leak is None
        else f"A leak of {leak:.0%} or more of the unsolved public problems would be found with 80 % power at a score "
        f"of {_SCORE:.0%}, if the whole paper is asked."
    )
    return tuple(sentences)
