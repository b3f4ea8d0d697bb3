"""What past sittings of a paper say of its problems: difficulties, abilities, and whether it is worn out.

In: certificates of one paper. Out: a :class:`~spiritsafe.exam.records.items.PaperItems` and its lines for a terminal:
by place and half, never a text. A model counts once: its seed follows from paper and model, so that another
registration of it brings the same answers again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spiritsafe.core.errors import CompatibilityError, IntegrityError, ProcedureError
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam.paper.split import halves
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.items import ItemsChecked, PaperItems, UsedSitting
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.results.certificate import HINT
from spiritsafe.exam.results.scores import right_by_place
from spiritsafe.exam.verification.materials import Materials
from spiritsafe.exam.verification.verify import verification_of
from spiritsafe.stats import estimate_ability, fit_items, watch_saturation

FEW_SITTINGS = 20
"""Below this many sittings a difficulty is rough: its standard error is more than half of the students' spread."""

_SHOWN = 5  # hardest and easiest problems named


def checked_certificates(
    paths: Sequence[Path], *, paper: Path | None = None, ledger: Path | None = None
) -> list[Certificate]:
    """Read certificates and verify each, as far as what is given goes.

    Args:
        paper: ``paper.json`` or its directory, to check what the paper committed to.
        ledger: The ledger, to check that nothing was left out.

    Raises:
        SourceError: A file cannot be read.
        IntegrityError: A certificate does not verify; the message names the file.
    """
    found = []
    for path in paths:
        try:
            found.append(verification_of(Materials(certificate=path, paper=paper, ledger=ledger)).require())
        except IntegrityError as error:
            raise IntegrityError(f"{path}: {error.message}", hint=HINT) from error
    return found


def _age(certificate: Certificate) -> tuple[int, str]:
    return certificate.head.size, certificate.content_digest


def one_a_model(certificates: Sequence[Certificate]) -> tuple[list[Certificate], list[str]]:
    """The certificates that count, in order of their digests, and why each other one does not.

    Of one registration the newest counts: a re-issue is of the same answers. Of one model the sitting that asked most
    does, and of equals the newest.
    """
    by_model: dict[str, Certificate] = {}
    left_out = []
    distinct = {certificate.content_digest: certificate for certificate in certificates}
    for certificate in sorted(distinct.values(), key=_age):
        model = certificate.registration.model_digest
        before = by_model.get(model)
        if before is None:
            by_model[model] = certificate
            continue
        same = before.result.registration == certificate.result.registration
        keep_new = same or len(certificate.result.not_asked) <= len(before.result.not_asked)
        loser = before if keep_new else certificate
        why = (
            "a newer certificate of the same sitting was given" if same else "another sitting of the same model counts"
        )
        left_out.append(f"{quoted_name(loser.result.model_name)} ({loser.content_digest[:19]}…) is left out: {why}.")
        by_model[model] = certificate if keep_new else before
    return sorted(by_model.values(), key=lambda certificate: certificate.content_digest), left_out


def _same_paper(certificates: Sequence[Certificate]) -> PaperHeader:
    first = certificates[0]
    for other in certificates:
        if other.paper.paper_id != first.paper.paper_id:
            raise CompatibilityError(
                f"{quoted_name(other.result.model_name)} sat another paper ({other.paper.paper_id[:19]}…) than "
                f"{quoted_name(first.result.model_name)} ({first.paper.paper_id[:19]}…).",
                hint="Difficulties are learned from sittings of one paper: leave the others out.",
            )
    return first.paper


def learn_items(certificates: Sequence[Certificate], *, checked: ItemsChecked = "certificates alone") -> PaperItems:
    """Learn the difficulties of a paper's problems.

    Errors, refusals and cut-off answers count as wrong, as the exam counts them. Several tries at one problem count as
    one answer, their mean: they are no independent ones.

    Args:
        certificates: Verified ones; see :func:`checked_certificates`.
        checked: What they were verified against.

    Raises:
        CompatibilityError: They are of several papers.
        ProcedureError: Fewer than two models.
    """
    used, _ = one_a_model(certificates)
    if len(used) < 2:
        raise ProcedureError(
            f"{len(used)} {'model' if len(used) == 1 else 'models'} cannot show which problems are hard for others.",
            hint=f"Give certificates of at least two models that sat this paper, better of {FEW_SITTINGS} or more.",
        )
    header = _same_paper(used)
    right_SI = np.zeros((len(used), header.num_problems))
    asked_SI = np.zeros_like(right_SI)
    for row, certificate in enumerate(used):
        for place, right in right_by_place(certificate.result.outcomes).items():
            if place < header.num_problems:
                asked_SI[row, place] = 1
                right_SI[row, place] = right / certificate.registration.num_tries
    bank = fit_items(right_SI, asked_SI)
    return PaperItems(
        paper_id=header.paper_id,
        bank=bank,
        times_asked=tuple(int(count) for count in asked_SI.sum(axis=0)),
        sittings=tuple(
            UsedSitting(
                certificate=certificate.content_digest,
                registration=certificate.result.registration,
                model_name=certificate.result.model_name,
                model_digest=certificate.result.model_digest,
                num_asked=int(asked.sum()),
                ability=estimate_ability(bank, right, asked),
            )
            for certificate, right, asked in zip(used, right_SI, asked_SI, strict=True)
        ),
        saturation=watch_saturation(bank, right_SI, asked_SI),
        checked=checked,
    )


_CHECKED_TEXT: dict[ItemsChecked, str] = {
    "certificates alone": "Each certificate was checked by itself: signatures, and all that follows from it. Paper and "
    "ledger were not given, so whether sittings or entries were left out was not checked.",
    "paper": "Each certificate was checked against the paper. The ledger was not given, so whether sittings or "
    "entries were left out was not checked.",
    "ledger": "Each certificate was checked against the ledger. The paper file was not given.",
    "paper and ledger": "Each certificate was verified against paper and ledger.",
}


def items_lines(items: PaperItems, header: PaperHeader) -> list[str]:
    """What was learned, for a terminal; problems by place and half only."""
    bank, kinds, num = items.bank, halves(header), len(items.sittings)
    lines = [
        f"{num} sittings of {header.num_problems} problems ({header.num_public} public, {header.num_sealed} sealed).",
        _CHECKED_TEXT[items.checked],
    ]
    if num < FEW_SITTINGS:
        lines.append(
            f"Warning: {num} sittings are few. Single difficulties are rough and will move with the next sittings; "
            f"from about {FEW_SITTINGS} on they settle."
        )
    if unasked := items.times_asked.count(0):
        lines.append(f"Warning: {unasked} problems were asked in no sitting; their difficulty is a guess.")
    quantiles = np.quantile(bank.difficulties, (0.0, 0.25, 0.5, 0.75, 1.0))
    slopes = "one discrimination for all" if bank.model == "rasch" else "each problem its own discrimination"
    lines += [
        f"Item model: {bank.model}, {slopes}.",
        "Difficulty (0: solved by half of middling students; 1: their standard deviation): lowest {:+.2f}, quarter "
        "{:+.2f}, middle {:+.2f}, three quarters {:+.2f}, highest {:+.2f}.".format(*quantiles),
    ]
    order = sorted(range(header.num_problems), key=lambda place: (bank.difficulties[place], place))
    for word, places in (("Hardest", order[::-1][:_SHOWN]), ("Easiest", order[:_SHOWN])):
        named = ", ".join(f"{place} ({kinds[place]}) {bank.difficulties[place]:+.2f}" for place in places)
        lines.append(f"{word}: {named}.")
    lines.append("Abilities, with standard errors:")
    for sitting in sorted(items.sittings, key=lambda sitting: -sitting.ability.value):
        ability, name = sitting.ability, quoted_name(sitting.model_name)
        partly = f"  ({sitting.num_asked} problems asked)" if sitting.num_asked < header.num_problems else ""
        lines.append(f"  {ability.value:+.2f} ± {ability.standard_error:.2f}  {name}{partly}")
    lines.append(items.saturation.statement)
    return lines
