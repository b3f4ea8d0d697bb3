"""The outlook: what a sitting can show, said before anybody sits it.

In: a paper's header, a registration. Out: sentences: the smallest difference that the claim's test will probably find,
and the smallest leak of the public half that the public-sealed test will. They rest on what is assumed of scores and
disagreement, and say so.
"""

from __future__ import annotations

from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.registration import Registration
from spiritsafe.stats import smallest_leak, smallest_paired_difference, smallest_score_gain

_DISCORDANCE = 0.25  # share of problems on which exactly one of two compared models is right
_SCORE = 0.5


def outlook(header: PaperHeader, registration: Registration) -> tuple[str, ...]:
    """What may be hoped for, in plain words."""
    design, sentences = design_of(registration, header), []
    claim, tries = registration.claim, registration.num_tries
    if claim is not None:
        found = (
            smallest_score_gain(header.num_sealed, threshold=claim.score, trials=tries, alpha=2 * claim.level)
            if claim.score is not None
            else smallest_paired_difference(
                header.num_sealed, discordance=_DISCORDANCE, trials=tries, alpha=2 * claim.level, rule=design.spending
            )
        )
        sentences.append(found.statement if found else "This paper is too small for the claim: no truth would show.")
        sentences += design.claim_outlook
    if words := design.outlook():
        return (words,)
    leak = smallest_leak(
        header.num_public, header.num_sealed, score=_SCORE, trials=tries, alpha=0.05 / design.num_looks
    )
    sentences.append(
        "Studying could go unnoticed: a paper of this size could miss even a full leak of the public half."
        if leak is None
        else f"A leak of {leak:.0%} or more of the unsolved public problems would be found with 80 % power at a score "
        f"of {_SCORE:.0%}, if the whole paper is asked."
    )
    return tuple(sentences)
