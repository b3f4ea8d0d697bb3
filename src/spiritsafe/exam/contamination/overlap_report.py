"""What an overlap with training files means: counts, p-values against controls, plain words; and how it is checked.

In: which problems and which controls were found. Out: findings, a verdict, statements; whoever checks a report runs the
same functions on its hits. Controls are problems of the same exam bucket that are not on the paper. Data that were made
without the paper are as likely to hold the one as the other, so the number of hits on a half is hypergeometric, within
strata, whatever kind of text the problems share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from spiritsafe.core.files.record_files import parse_record
from spiritsafe.exam.contamination.signed_report import OverlapEntry, check_examiner_report
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.paper.split import halves, stratum_ranges
from spiritsafe.exam.records.contamination import (
    OverlapFinding,
    OverlapForm,
    OverlapHit,
    OverlapKind,
    OverlapReport,
    OverlapVerdict,
    SignedOverlap,
)
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.result import Half
from spiritsafe.stats import randomisation_test

FORMS: tuple[OverlapForm, ...] = ("words", "masked")
OVERLAP_KINDS: tuple[OverlapKind, ...] = ("verbatim", "n-grams", "near")
_LEVEL = 0.05


@final
@dataclass(frozen=True, slots=True)
class Controls:
    """Controls by stratum: how many there are, and how many were found in each form and way."""

    sizes: tuple[int, ...]
    found: Mapping[tuple[OverlapForm, OverlapKind], tuple[int, ...]]


def _labels(header: PaperHeader) -> list[int]:
    """The stratum of each place, twins included."""
    own = [k for k, (_, places) in enumerate(stratum_ranges(header)) for _ in places] or [0] * header.num_problems
    return own + own[: header.num_twins]


def _p_value(found: Sequence[int], labels: Sequence[int], sizes: Sequence[int], hits: Sequence[int]) -> float | None:
    """One-sided: so many hits, or more, among these problems and not among the controls."""
    if not sum(sizes) or not found:
        return None
    control = [1 if at < hit else 0 for size, hit in zip(sizes, hits, strict=True) for at in range(size)]
    control_labels = [k for k, size in enumerate(sizes) for _ in range(size)]
    p_value, _ = randomisation_test(
        np.array(found, dtype=np.int64),
        np.array(control, dtype=np.int64),
        seed=0,
        num_draws=0,
        strata=(labels, control_labels) if len(sizes) > 1 else None,
    )
    return p_value


def findings_of(
    header: PaperHeader, hits: Sequence[OverlapHit], controls: Controls, control_twins: Controls
) -> tuple[OverlapFinding, ...]:
    """Counts and p-values, form by form and way by way."""
    kinds, labels = halves(header), _labels(header)
    places: dict[Half, list[int]] = {
        half: [place for place, kind in enumerate(kinds) if kind == half] for half in ("public", "sealed", "twin")
    }
    findings = []
    for form, kind in ((form, kind) for form in FORMS for kind in OVERLAP_KINDS):
        mine = {hit.index for hit in hits if (hit.form, hit.kind) == (form, kind)}
        nothing = {half: (0,) * len(group.sizes) for half, group in (("own", controls), ("twin", control_twins))}
        own = controls.found.get((form, kind), nothing["own"])
        twins = control_twins.found.get((form, kind), nothing["twin"])
        found = {half: [int(place in mine) for place in places[half]] for half in places}
        of = {half: [labels[place] for place in places[half]] for half in places}
        findings.append(
            OverlapFinding(
                form=form,
                kind=kind,
                public=sum(found["public"]),
                sealed=sum(found["sealed"]),
                twins=sum(found["twin"]),
                controls=own,
                control_twins=twins,
                p_public=_p_value(found["public"], of["public"], controls.sizes, own),
                p_sealed=_p_value(found["sealed"], of["sealed"], controls.sizes, own),
                p_twins=_p_value(found["twin"], of["twin"], control_twins.sizes, twins),
            )
        )
    return tuple(findings)


def _corrected(finding: OverlapFinding) -> float:
    """Of the sealed half and the twins, over all forms and ways (Bonferroni)."""
    values = [p for p in (finding.p_sealed, finding.p_twins) if p is not None]
    return min(1.0, min(values) * len(values) * len(FORMS) * len(OVERLAP_KINDS)) if values else 1.0


def _is_fact(finding: OverlapFinding) -> bool:
    """Sealed problems stand there word for word, and no control does: no test is needed to say so."""
    if (finding.form, finding.kind) != ("words", "verbatim"):
        return False
    return finding.sealed + finding.twins > 0 and not sum(finding.controls) + sum(finding.control_twins)


def verdict_of(findings: Sequence[OverlapFinding], num_controls: int) -> OverlapVerdict:
    """What the findings say of the sealed half and the twins."""
    if any(_is_fact(finding) or _corrected(finding) < _LEVEL for finding in findings):
        return "sealed problems found"
    hit = any(f.sealed + f.twins for f in findings if not num_controls or (f.form, f.kind) == ("words", "verbatim"))
    return "undecided" if hit else "nothing found"


_WAYS: dict[tuple[OverlapForm, OverlapKind], str] = {
    ("words", "verbatim"): "word for word",
    ("words", "n-grams"): "in long runs of words",
    ("words", "near"): "nearly word for word",
    ("masked", "verbatim"): "with other numbers, otherwise word for word",
    ("masked", "n-grams"): "in long runs of words, numbers masked",
    ("masked", "near"): "nearly, numbers masked",
}
_VERDICTS: dict[OverlapVerdict, str] = {
    "sealed problems found": "Contaminated: these training files hold problems of the sealed half.",
    "undecided": "Undecided: sealed problems were found, and it cannot be told from chance.",
    "nothing found": "No sign that these training files hold problems of the sealed half. Files that were not given "
    "cannot be checked, nor can other languages or other wordings.",
}


def _sentence(finding: OverlapFinding, header: PaperHeader, num_controls: int, num_control_twins: int) -> str:
    twins = f", {finding.twins} of {header.num_twins} twins" if header.num_twins else ""
    text = (
        f"Found {_WAYS[finding.form, finding.kind]}: {finding.sealed} of {header.num_sealed} sealed problems{twins}, "
        f"{finding.public} of {header.num_public} public ones"
    )
    if not num_controls:
        return f"{text}; no controls can be drawn for this bank."
    own = f"{sum(finding.controls)} of {num_controls} controls"
    own += f", {sum(finding.control_twins)} of {num_control_twins} of their twins" if num_control_twins else ""
    corrected = _corrected(finding)
    if corrected < _LEVEL:
        return f"{text}; {own}. More than chance explains (p = {corrected:.2g}, corrected for all comparisons)."
    if _is_fact(finding) or not finding.sealed + finding.twins:
        return f"{text}; {own}."
    return f"{text}; {own}. Not more than chance explains."


def statements_of_overlap(
    header: PaperHeader,
    findings: Sequence[OverlapFinding],
    hits: Sequence[OverlapHit],
    *,
    num_controls: int,
    num_control_twins: int,
) -> tuple[str, ...]:
    """The verdict and what it stands on, in plain words."""
    whole = {hit.index for hit in hits if hit.whole and hit.form == "words" and hit.half != "public"}
    shown = [f for f in findings if f.kind == "verbatim" or _corrected(f) < _LEVEL or (f.sealed and not num_controls)]
    statements = [_VERDICTS[verdict_of(findings, num_controls)]]
    statements += [_sentence(finding, header, num_controls, num_control_twins) for finding in shown]
    if whole:
        statements.append(f"{len(whole)} sealed problems or twins are a message or field of their own there.")
    return tuple(statements)


def check_overlap(data: bytes, path: Path, *, log: PaperLog) -> SignedOverlap:
    """Check that a report is its examiner's, of this paper, in this ledger, and right in its numbers."""
    signed = parse_record(data, SignedOverlap, f"The overlap report {path}")
    report, header = signed.report, log.header
    findings = _recomputed(report, header)
    expected = statements_of_overlap(
        header,
        findings,
        report.hits,
        num_controls=sum(report.num_controls),
        num_control_twins=sum(report.num_control_twins),
    )
    check_examiner_report(
        signed,
        path,
        kind=OverlapEntry,
        log=log,
        follows=[
            (_hits_fit(report, header), "has hits that do not fit the paper or its own limits"),
            (findings == report.findings, "has counts or p-values that do not follow from its hits"),
            (report.verdict == verdict_of(findings, sum(report.num_controls)), "has a verdict that does not follow"),
            (report.statements == expected, "has statements that do not follow from its findings"),
        ],
    )
    return signed


def _recomputed(report: OverlapReport, header: PaperHeader) -> tuple[OverlapFinding, ...]:
    """The findings that follow from a report's hits and its counts of controls; empty when those cannot be."""
    num_strata = max(1, len(header.strata))
    own = {(f.form, f.kind): f.controls for f in report.findings}
    twins = {(f.form, f.kind): f.control_twins for f in report.findings}
    for sizes, found in ((report.num_controls, own), (report.num_control_twins, twins)):
        if len(sizes) not in (0, num_strata):
            return ()
        for hits in found.values():
            if len(hits) != len(sizes) or any(not 0 <= h <= s for h, s in zip(hits, sizes, strict=True)):
                return ()
    return findings_of(
        header, report.hits, Controls(report.num_controls, own), Controls(report.num_control_twins, twins)
    )


def _hits_fit(report: OverlapReport, header: PaperHeader) -> bool:
    kinds = halves(header)
    least = {"verbatim": 1.0, "n-grams": report.enough_ngrams, "near": report.near}
    return all(
        hit.index < len(kinds)
        and hit.half == kinds[hit.index]
        and hit.file < len(report.files)
        and hit.score >= least[hit.kind]
        for hit in report.hits
    )
