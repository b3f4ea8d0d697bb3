"""Deciding a claim: what the registered test says, and at which look.

In: right answers by place, a paper's header, a registration, the reference's answers. Out: a
:class:`~spiritsafe.exam.records.result.Decision`. The sealed half decides, in the paper's own random order; the
statistics are :mod:`spiritsafe.stats.sequential.decision`'s and :mod:`spiritsafe.stats.sequential.betting`'s. The
sitting asks :func:`stops_at` at each look, and so does who verifies.
"""

from __future__ import annotations

from collections.abc import Mapping

from spiritsafe.core.errors import IntegrityError, ProcedureError
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam.designs.design import Design
from spiritsafe.exam.designs.stand import ClaimAnswers
from spiritsafe.exam.paper.split import halves
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.registration import Registration
from spiritsafe.exam.records.result import ClaimFinding, Decision, Ending, ReferenceScores
from spiritsafe.exam.results.reach import Reach


def check_reached(reference: Certificate) -> None:
    """A model that was not reached is no reference.

    Raises:
        ProcedureError: Too many of its tries failed.
    """
    reach = Reach.of(outcome.status for outcome in reference.result.outcomes)
    if not reach.is_enough:
        raise ProcedureError(
            f"The reference {quoted_name(reference.result.model_name)} was not reached: {reach}.",
            hint="Register against a sitting that was answered; `exam withdraw` takes a registration back.",
        )


def reference_scores(
    header: PaperHeader, registration: Registration, certificate: Certificate | None
) -> ReferenceScores | None:
    """What the registered claim's reference answered on the sealed half; None when the claim compares with nothing.

    Raises:
        ProcedureError: The reference is missing, another one, of another paper or number of tries, or not complete.
    """
    claim = registration.claim
    if claim is None or claim.reference is None:
        if certificate is not None:
            raise ProcedureError("The registered claim compares with no other model.", hint="Leave the reference out.")
        return None
    if certificate is None:
        raise ProcedureError(
            "The registered claim compares with another model.", hint="Give that model's certificate as reference."
        )
    names = (certificate.content_digest, certificate.registration.content_digest)
    checks = (
        (claim.reference in names, "is not the registered one"),
        (certificate.paper.paper_id == header.paper_id, "is of another paper"),
        (certificate.registration.num_tries == registration.num_tries, "has another number of tries"),
        (not certificate.result.not_asked, "did not ask the whole paper"),
    )
    for good, message in checks:
        if not good:
            raise ProcedureError(
                f"The reference {quoted_name(certificate.result.model_name)} {message}.",
                hint="Register against a complete sitting of the same paper with as many tries.",
            )
    reach = Reach.of(outcome.status for outcome in certificate.result.outcomes)
    right: dict[int, int] = {}
    for outcome in certificate.result.outcomes:
        if outcome.half == "sealed":
            right[outcome.index] = right.get(outcome.index, 0) + (outcome.status == "correct")
    return ReferenceScores(
        certificate=names[0],
        registration=names[1],
        model_name=certificate.result.model_name,
        right=tuple(right[place] for place in sorted(right)),
        num_failed=reach.failed,
        num_outcomes=reach.tries,
    )


def _answers(design: Design, right: Mapping[int, int], reference: ReferenceScores | None) -> ClaimAnswers | None:
    registration, header = design.registration, design.header
    claim = registration.claim
    if claim is None:
        return None
    kinds = halves(header)
    sealed = [place for place in range(header.num_problems) if kinds[place] == "sealed"]
    asked = [p for p in design.order() if kinds[p] == "sealed" and p in right]
    theirs: list[int] | None = None
    if (reference is None) != (claim.reference is None):
        raise IntegrityError("The claim's reference is missing, or not wanted.", hint="Ask the examiner about it.")
    if reference is not None:
        if len(reference.right) != len(sealed):
            raise IntegrityError("The reference's answers are not those of this paper.", hint="Ask for a good copy.")
        by_place = dict(zip(sealed, reference.right, strict=True))
        theirs = [by_place[place] for place in asked]
    mine = [right[place] for place in asked]
    return ClaimAnswers(claim, mine, theirs, registration.num_tries, registration.intervals)


def stops_at(look: int, right: Mapping[int, int], design: Design, reference: ReferenceScores | None) -> bool:
    """Whether the registered rule ends the sitting at a look (from 1), given the answers up to there.

    Args:
        right: Right answers by place; those behind the look are not looked at.

    Raises:
        IntegrityError: The reference does not fit the paper.
    """
    answers = _answers(design, right, reference)
    if answers is None:
        return False
    stand = design.stand(answers.first(design.sealed_looks[look - 1]))
    return stand is not None and stand.look == look and stand.is_over


def decide(
    right: Mapping[int, int],
    design: Design,
    *,
    ending: Ending,
    reference: ReferenceScores | None,
    is_amended: bool = False,
) -> Decision | None:
    """What the sitting says of its claim; None without one.

    Args:
        right: Right answers of all problems that were asked, by place.
        ending: Why it ended; an exhausted budget decides nothing.
        is_amended: Grades were edited after the sitting: it ended by the grades before, and the rule may say
            otherwise now.

    Raises:
        IntegrityError: The reference does not fit the paper, or the rule says to go on.
    """
    answers = _answers(design, right, reference)
    if answers is None:
        return None
    stand = design.stand(answers) if len(answers.right) >= design.sealed_looks[0] else None
    words = f"Registered claim: {answers.claim.words}."
    if ending == "budget exhausted":
        return Decision(
            finding="undecided",
            p_value=1.0,
            estimate=answers.plain_estimate(),
            look=stand.look if stand else 1,
            num_looks=design.num_looks,
            method="the budget ended the sitting",
            statement=f"{words} Undecided: the budget ended the sitting before the test could.",
        )
    if is_amended and (stand is None or stand.p_value is None or not stand.is_over):
        return Decision(
            finding="undecided",
            p_value=1.0,
            estimate=stand.estimate if stand else answers.plain_estimate(),
            look=stand.look if stand else 1,
            num_looks=design.num_looks,
            method="the rule would have gone on",
            statement=f"{words} Undecided: with the edited grades the rule would not have ended the sitting here.",
        )
    if stand is None or stand.p_value is None or not stand.is_over:
        raise IntegrityError(
            "The sitting ended where its rule says to go on.", hint="Ask the examiner why the sitting ended."
        )
    finding: ClaimFinding = "supported" if stand.is_shown else "not supported"
    return Decision(
        finding=finding,
        p_value=stand.p_value,
        estimate=stand.estimate,
        look=stand.look,
        num_looks=design.num_looks,
        method=design.test_words,
        statement=f"{words} By this sitting alone: {finding}. {stand.statement}",
    )
