from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exam_parts import SECRET, Stage, make_stage
from scipy.stats import hypergeom

from spiritsafe.exam import PaperTerms
from spiritsafe.exam.contamination.overlap_report import Controls, findings_of, statements_of_overlap, verdict_of
from spiritsafe.exam.paper.split import halves, stratum_ranges
from spiritsafe.exam.records.contamination import OverlapHit
from spiritsafe.tasks import load_task


def hit(header, index: int, form: str = "masked", kind: str = "verbatim", **changes) -> OverlapHit:
    fields = {"score": 1.0, "whole": False, "file": 0, "passage": "0" * 64}
    return OverlapHit(index=index, half=halves(header)[index], form=form, kind=kind, **{**fields, **changes})


def controls(size: int, found: int, form: str = "masked", kind: str = "verbatim") -> Controls:
    return Controls((size,), {(form, kind): (found,)})


NO_TWINS = Controls((), {})


def finding(header, hits, of: Controls, twins: Controls = NO_TWINS, form: str = "masked"):
    findings = findings_of(header, hits, of, twins)
    return next(f for f in findings if (f.form, f.kind) == (form, "verbatim")), findings


def test_p_values_are_hypergeometric(stage: Stage) -> None:
    header = stage.paper.header
    sealed = [place for place, half in enumerate(halves(header)) if half == "sealed"]
    found, _ = finding(header, [hit(header, place) for place in sealed[:6]], controls(20, 3))
    assert (found.sealed, found.public, found.controls) == (6, 0, (3,))
    assert found.p_sealed == pytest.approx(hypergeom(30, 9, 10).sf(5))
    assert found.p_public == pytest.approx(1.0)
    assert found.p_twins is None


def test_p_values_within_strata(tmp_path: Path) -> None:
    """Counted over all ways in which the hits of each stratum can fall."""
    stage = make_stage(tmp_path, count=12, task=load_task("mix:arith:sums|arith:products"), secret=SECRET)
    header = stage.paper.header
    kinds = halves(header)
    sizes = [len(places) for _, places in stratum_ranges(header)]
    sealed = [[place for place in places if kinds[place] == "sealed"] for _, places in stratum_ranges(header)]
    hits = [hit(header, place) for place in (*sealed[0][:2], *sealed[1][:3])]
    found = (1, 4)
    result, _ = finding(header, hits, Controls(tuple(sizes), {("masked", "verbatim"): found}))
    parts = [
        hypergeom(len(mine) + size, num + hits_here, len(mine))
        for mine, size, num, hits_here in zip(sealed, sizes, found, (2, 3), strict=True)
    ]
    expected = sum(parts[0].pmf(a) * parts[1].pmf(b) for a in range(7) for b in range(7) if a + b >= 5)
    assert result.p_sealed == pytest.approx(expected)


def test_verdicts(stage: Stage) -> None:
    header = stage.paper.header
    sealed = [place for place, half in enumerate(halves(header)) if half == "sealed"]
    public = [place for place, half in enumerate(halves(header)) if half == "public"]
    words = [hit(header, place, "words") for place in sealed]
    none = controls(20, 0, "words")

    def verdict(hits, of: Controls) -> str:
        return verdict_of(findings_of(header, hits, of, NO_TWINS), sum(of.sizes))

    assert verdict([], none) == "nothing found"
    assert verdict(words[:1], none) == "sealed problems found"  # word for word: a fact
    assert verdict([hit(header, place, "words") for place in public], none) == "nothing found"
    assert verdict(words[:2], controls(20, 4, "words")) == "undecided"  # controls as much: short texts coincide
    assert verdict([hit(header, place) for place in sealed], controls(20, 0)) == "sealed problems found"
    assert verdict([hit(header, place) for place in sealed], controls(20, 20)) == "nothing found"  # one template
    assert verdict([hit(header, sealed[0])], controls(20, 0)) == "nothing found"  # one of 30: chance
    assert verdict([hit(header, sealed[0])], Controls((), {})) == "undecided"


def test_statements_name_what_was_found(stage: Stage) -> None:
    header = stage.paper.header
    sealed = [place for place, half in enumerate(halves(header)) if half == "sealed"]
    hits = [hit(header, place, "words", whole=True) for place in sealed[:3]]
    hits += [hit(header, place, whole=True) for place in sealed]  # with other numbers: not the problem itself
    of = Controls((20,), {("words", "verbatim"): (0,), ("masked", "verbatim"): (1,)})
    found = findings_of(header, hits, of, NO_TWINS)
    text = statements_of_overlap(header, found, hits, num_controls=20, num_control_twins=0)
    assert text[0].startswith("Contaminated")
    assert "Found word for word: 3 of 10 sealed problems, 0 of 10 public ones; 0 of 20 controls." in text
    assert any("with other numbers" in line and "10 of 10 sealed" in line and "p = " in line for line in text)
    assert text[-1].startswith("3 sealed problems")
    clean = statements_of_overlap(
        header, findings_of(header, [], of, NO_TWINS), [], num_controls=20, num_control_twins=0
    )
    assert clean[0].startswith("No sign")
    alone = findings_of(header, [], Controls((), {}), NO_TWINS)
    assert "no controls" in statements_of_overlap(header, alone, [], num_controls=0, num_control_twins=0)[1]


def test_size_when_problems_and_controls_are_as_likely_to_be_found(tmp_path: Path) -> None:
    """600 clean repeats with hits of every kind: the verdict is false in at most 5 % (Bonferroni over 12)."""
    header = make_stage(tmp_path, count=40, terms=PaperTerms()).paper.header
    kinds = halves(header)
    rng = np.random.default_rng(5)
    false_alarms = smallest = 0
    repeats = 600
    for _ in range(repeats):
        rate = rng.uniform(0.02, 0.9)
        hits, found = [], {}
        for kind in ("verbatim", "n-grams", "near"):
            mine = rng.random(40) < rate
            hits += [hit(header, int(place), "masked", kind) for place in np.flatnonzero(mine)]
            found["masked", kind] = (int((rng.random(40) < rate).sum()),)
        findings = findings_of(header, hits, Controls((40,), found), NO_TWINS)
        false_alarms += verdict_of(findings, 40) == "sealed problems found"
        smallest += findings[3].p_sealed <= 0.05
    assert kinds.count("sealed") == 20
    assert false_alarms / repeats <= 0.05
    assert 0.01 < smallest / repeats <= 0.06  # the single test: near its level, not far below
