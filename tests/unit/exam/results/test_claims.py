"""The decision against independent arithmetic: binomial tails, McNemar's counts, full enumeration of looks."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from exam_parts import ToyModel, make_stage
from scipy import stats

from spiritsafe.core.errors import IntegrityError, ProcedureError
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.paper.split import asking_order, halves
from spiritsafe.exam.records.registration import Claim
from spiritsafe.exam.results.claims import decide, reference_scores, stops_at
from spiritsafe.exam.verification.steps import STEPS
from spiritsafe.stats.sequential.design import BettingRule, StopRule

HALF = Claim(kind="score at least", score=0.5)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return make_stage(tmp_path_factory.mktemp("stage"), count=80)


def sealed_in_order(stage, stop=None):
    kinds = halves(stage.paper.header)
    return [place for place in asking_order(stage.paper.header, stop) if kinds[place] == "sealed"]


def decided(stage, registration, right, **options):
    return decide(
        right, design_of(registration, stage.paper.header), **{"ending": "complete", "reference": None, **options}
    )


def test_without_a_claim_nothing_is_decided(stage):
    assert decided(stage, stage.register(ToyModel()), dict.fromkeys(range(80), 1)) is None


@pytest.mark.parametrize("num_right", [15, 20, 25, 27, 33, 40])
def test_a_score_is_held_against_the_binomial_tail(stage, num_right):
    registration = stage.register(ToyModel(), claim=HALF)
    order = sealed_in_order(stage)
    right = {place: int(k < num_right) for k, place in enumerate(order)}
    right.update({place: 1 for place in range(80) if place not in right})  # the public half has no say
    decision = decided(stage, registration, right)
    p = stats.binomtest(num_right, 40, 0.5, alternative="greater").pvalue
    assert decision.p_value == pytest.approx(p, rel=1e-6)
    assert decision.finding == ("supported" if p <= 0.025 else "not supported")
    assert (decision.look, decision.num_looks) == (1, 1)
    # one look: the two-sided 95 % interval's lower end decides the same
    assert (decision.estimate.low > 0.5) == (p < 0.025)
    assert decision.estimate.n == 40


@pytest.fixture(scope="module")
def base(stage):
    return stage.certificate(ToyModel(name="base", skill=0.4), name="base")


def test_reference_scores_are_the_certificates(stage, base):
    claim = Claim(kind="better than", reference=base.content_digest)
    registration = stage.register(ToyModel(), claim=claim)
    scores = reference_scores(stage.paper.header, registration, base)
    assert sum(scores.right) == round(40 * base.result.sealed.accuracy.value)
    assert len(scores.right) == 40
    by_registration = stage.register(
        ToyModel(), claim=claim.model_copy(update={"reference": base.registration.content_digest})
    )
    assert reference_scores(stage.paper.header, by_registration, base) == scores


def test_wrong_references_are_refused(stage, base, tmp_path):
    header = stage.paper.header
    claim = Claim(kind="better than", reference=base.content_digest)
    registration = stage.register(ToyModel(), claim=claim)
    with pytest.raises(ProcedureError, match="compares with another model"):
        reference_scores(header, registration, None)
    other = stage.certificate(ToyModel(name="other"), name="other")
    with pytest.raises(ProcedureError, match="not the registered one"):
        reference_scores(header, registration, other)
    with pytest.raises(ProcedureError, match="compares with no other"):
        reference_scores(header, stage.register(ToyModel(), claim=HALF), other)
    twice = stage.register(ToyModel(), claim=claim, num_tries=2)
    with pytest.raises(ProcedureError, match="number of tries"):
        reference_scores(header, twice, base)
    elsewhere = make_stage(tmp_path, count=80)
    with pytest.raises(ProcedureError, match="another paper"):
        reference_scores(elsewhere.paper.header, registration, base)
    short = base.model_copy(update={"result": base.result.model_copy(update={"not_asked": (3,)})})
    changed = stage.register(ToyModel(), claim=claim.model_copy(update={"reference": short.content_digest}))
    with pytest.raises(ProcedureError, match="whole paper"):
        reference_scores(header, changed, short)


@pytest.mark.parametrize(("kind", "margin"), [("better than", 0.0), ("better than", 0.1), ("no worse than", 0.15)])
def test_pairs_decide_a_comparison(stage, base, kind, margin):
    claim = Claim(kind=kind, reference=base.content_digest, margin=margin)
    registration = stage.register(ToyModel(name=f"{kind} {margin}"), claim=claim)
    scores = reference_scores(stage.paper.header, registration, base)
    sealed = sorted(sealed_in_order(stage))
    findings = []
    for gained in (0, 3, 8, len(sealed)):
        theirs = dict(zip(sealed, scores.right, strict=True))
        missed = [place for place in sealed if not theirs[place]][:gained]
        right = {**theirs, **dict.fromkeys(missed, 1)}
        decision = decided(stage, registration, right, reference=scores)
        assert decision.estimate.value == pytest.approx(len(missed) / 40, abs=0.02)
        if (
            kind == "better than" and not margin and gained in (3, 8)
        ):  # all discordant pairs one way: near McNemar's tail
            assert 0.5 < decision.p_value / 0.5 ** len(missed) < 2.0
        findings.append(decision.finding)
    expected = {
        ("better than", 0.0): ["not supported", "not supported", "supported", "supported"],
        ("better than", 0.1): ["not supported", "not supported", "not supported", "supported"],
        ("no worse than", 0.15): ["supported", "supported", "supported", "supported"],
    }
    assert findings == expected[kind, margin]


def first_stop(stage, registration, right):
    looks = registration.stop.num_looks
    return next(
        (k for k in range(1, looks) if stops_at(k, right, design_of(registration, stage.paper.header), None)), looks
    )


@pytest.mark.parametrize(
    "stop",
    [
        StopRule(num_problems=40, num_looks=5),
        StopRule(num_problems=40, num_looks=8, spending="cubic", beta=0.1),
        BettingRule(num_problems=40, num_looks=8),
    ],
)
def test_gross_differences_stop_early_and_fine_ones_do_not(stage, stop):
    registration = stage.register(ToyModel(), claim=HALF, stop=stop)
    order = sealed_in_order(stage, stop)
    perfect = dict.fromkeys(order, 1)
    even = {place: k % 2 for k, place in enumerate(order)}
    stopped = first_stop(stage, registration, perfect)
    assert stopped < stop.num_looks
    asked = dict.fromkeys(order[: stop.looks[stopped - 1]], 1)
    decision = decided(stage, registration, asked, ending="stopped by rule")
    assert decision.finding == "supported"
    assert decision.look == stopped
    assert decision.p_value <= 0.025
    full = decided(stage, registration, even)
    assert full.finding == "not supported"
    if isinstance(stop, BettingRule) or stop.beta is None:
        assert first_stop(stage, registration, even) == stop.num_looks  # nobody gives up
    halfway = {place: even[place] for place in order[: stop.looks[0]]}
    with pytest.raises(IntegrityError, match="says to go on"):
        decided(stage, registration, halfway, ending="stopped by rule")


def test_what_lies_behind_a_look_does_not_count_at_it(stage):
    stop = StopRule(num_problems=40, num_looks=5)
    registration = stage.register(ToyModel(), claim=HALF, stop=stop)
    order = sealed_in_order(stage, stop)
    right = {place: int(k < stop.looks[1]) for k, place in enumerate(order)}
    early = {place: right[place] for place in order[: stop.looks[1]]}
    for look in (1, 2):
        answers = [stops_at(look, r, design_of(registration, stage.paper.header), None) for r in (right, early)]
        assert answers[0] == answers[1]


def test_error_rate_of_the_looks_by_enumeration(stage):
    """True score equal to the claimed one: the chance to be supported at any look, over all walks, is at most 2.5 %."""
    stop = StopRule(num_problems=40, num_looks=4)
    registration = stage.register(ToyModel(), claim=HALF, stop=stop)
    order = sealed_in_order(stage, stop)
    alive, supported, before = {0: 1.0}, 0.0, 0
    for look, size in enumerate(stop.looks, start=1):
        step = size - before
        reached: dict[int, float] = {}
        for count, chance in alive.items():
            for more in range(step + 1):
                p = chance * math.comb(step, more) / 2**step
                reached[count + more] = reached.get(count + more, 0.0) + p
        alive, before = {}, size
        for count, chance in reached.items():
            # the right ones last: a path to this count that no earlier look has stopped
            right = {place: int(k >= size - count) for k, place in enumerate(order[:size])}
            over = stops_at(look, right, design_of(registration, stage.paper.header), None)
            if not over:
                alive[count] = chance
                continue
            ending = "complete" if look == 4 else "stopped by rule"
            supported += chance * (decided(stage, registration, right, ending=ending).finding == "supported")
    assert 0.005 < supported <= 0.025


def test_an_exhausted_budget_decides_nothing(stage):
    registration = stage.register(ToyModel(), claim=HALF)
    order = sealed_in_order(stage)
    decision = decided(stage, registration, dict.fromkeys(order[:30], 1), ending="budget exhausted")
    assert (decision.finding, decision.p_value) == ("undecided", 1.0)
    assert decision.estimate.n == 30
    nothing = decided(stage, registration, {}, ending="budget exhausted")
    assert (nothing.estimate.n, nothing.estimate.low, nothing.estimate.high) == (0, 0.0, 1.0)


def test_a_reference_of_another_length_is_refused(stage, base):
    claim = Claim(kind="better than", reference=base.content_digest)
    registration = stage.register(ToyModel(), claim=claim)
    scores = reference_scores(stage.paper.header, registration, base)
    cut = scores.model_copy(update={"right": scores.right[1:]})
    with pytest.raises(IntegrityError, match="not those of this paper"):
        decided(stage, registration, dict.fromkeys(range(80), 1), reference=cut)
    with pytest.raises(IntegrityError, match="missing"):
        decided(stage, registration, dict.fromkeys(range(80), 1))


def failing(name, every):
    count = iter(range(1000))
    return ToyModel(name=name, reply=lambda prompt, index: ("", "error") if next(count) % every == 0 else None)


def test_a_reference_that_was_not_reached_is_none(stage):
    """A dead server gives a base of 0 %, which anybody beats."""
    dead = stage.certificate(failing("dead base", 10), name="dead")
    registration = stage.register(ToyModel(), claim=Claim(kind="better than", reference=dead.content_digest))
    with pytest.raises(
        ProcedureError, match='"dead base" was not reached: 8 of 80 tries failed, more than 5%'
    ) as caught:
        stage.sit(ToyModel(), registration, name="against", reference=dead)
    assert "withdraw" in caught.value.hint
    assert not any(
        entry.body.get("registration") == registration.content_digest for entry in stage.ledger.find("access")
    )


def test_a_references_failures_are_quoted_stated_and_checked(stage):
    base = stage.certificate(failing("shaky base", 40), name="shaky")
    registration = stage.register(ToyModel(), claim=Claim(kind="better than", reference=base.content_digest))
    certificate = stage.sit(ToyModel(), registration, name="shaken", reference=base)
    scores = certificate.result.reference
    assert (scores.num_failed, scores.num_outcomes) == (2, 80)
    words = 'Of the reference "shaky base", 2 of 80 tries failed; they count as wrong there.'
    assert words in certificate.statements
    path = stage.root / "shaky" / "certificate.json"
    step = next(step for step in stage.verify("shaken", reference=path) if step.name == "reference")
    assert step.ok
    assert step.detail.endswith("; 2 of 80 tries failed")


def test_an_older_result_that_quotes_no_failures_verifies_as_before(stage, base, tmp_path):
    """And who gives the reference's certificate hears of them."""
    dead = stage.certificate(failing("old dead base", 2), name="old-dead")
    claim = Claim(kind="better than", reference=dead.content_digest)
    case = SimpleNamespace(
        certificate=SimpleNamespace(
            registration=stage.register(ToyModel(name="old"), claim=claim),
            paper=stage.paper.header,
            result=SimpleNamespace(reference=None),
        ),
        reference_bytes=dead.canonical(),
    )
    full = reference_scores(stage.paper.header, case.certificate.registration, dead)
    old = full.model_copy(update={"num_failed": None, "num_outcomes": None})
    assert "num_failed" not in old.to_json()
    check = next(check for name, _, check in STEPS if name == "reference")
    for quoted in (full, old):
        case.certificate.result.reference = quoted
        assert "40 of 80 tries failed, more than 5%: that model was not reached" in check(case)
    case.certificate.result.reference = full.model_copy(update={"num_failed": 0})
    with pytest.raises(IntegrityError, match="misquotes"):
        check(case)
