"""Two models on the same paper: problem by problem, never by looking whether intervals overlap.

In: two certificates of one paper. Out: a :class:`~spiritsafe.exam.records.rerun.Comparison`: what the models differ by
on the sealed half, on the public half, and how much of the public difference is studying.
"""

from __future__ import annotations

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.seeds import derive_seed
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.rerun import Comparison
from spiritsafe.exam.results.scores import gap_statement, right_answers, strata_of_halves
from spiritsafe.stats import gain_gap, paired_difference


def compare(first: Certificate, second: Certificate) -> Comparison:
    """First minus second (a student and its base, for example), paired by problem.

    The public difference is the sealed difference (the models) plus the difference of the two (the studying).

    Args:
        second: A verified certificate of the same paper with as many tries.

    Raises:
        CompatibilityError: The papers or the numbers of tries differ, or a sitting did not ask the whole paper.
    """
    if first.paper.paper_id != second.paper.paper_id:
        raise CompatibilityError(
            f"{quoted_name(first.result.model_name)} and {quoted_name(second.result.model_name)} sat different papers.",
            hint="Only sittings of one paper can be compared: let both sit the same one.",
        )
    trials = first.registration.num_tries
    if trials != second.registration.num_tries:
        raise CompatibilityError(
            f"{quoted_name(first.result.model_name)} had {trials} tries a problem, "
            f"{quoted_name(second.result.model_name)} {second.registration.num_tries}.",
            hint="Register both with the same number of tries.",
        )
    for certificate in (first, second):
        if certificate.result.not_asked:
            raise CompatibilityError(
                f"{quoted_name(certificate.result.model_name)} was not asked the whole paper: "
                + design_of(certificate.registration, certificate.paper).left_out_words,
                hint="Compare complete sittings, or register a claim that compares with the other model.",
            )
    sealed = tuple(right_answers(certificate.result.outcomes, "sealed") for certificate in (first, second))
    public = tuple(right_answers(certificate.result.outcomes, "public") for certificate in (first, second))
    studying = gain_gap(
        (public[0], public[1]),
        (sealed[0], sealed[1]),
        trials=trials,
        seed=derive_seed("gain gap", first.paper.bank_root),
        strata=strata_of_halves(first.paper),
    )
    return Comparison(
        paper_id=first.paper.paper_id,
        first=first.result.model_name,
        second=second.result.model_name,
        sealed=paired_difference(sealed[0], sealed[1], trials=trials),
        public=paired_difference(public[0], public[1], trials=trials),
        studying=studying,
        statement=gap_statement(studying),
    )
