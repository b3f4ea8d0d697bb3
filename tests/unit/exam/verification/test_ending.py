"""Sittings that end where they should not: a host that stops when it looks good, or goes on until it does."""

from __future__ import annotations

import pytest
from exam_parts import ToyModel, make_stage
from stranger_parts import IMPOSSIBLE

from spiritsafe.core.errors import IntegrityError
from spiritsafe.exam.paper.split import asking_order, look_ends
from spiritsafe.exam.records.registration import Budget, Claim
from spiritsafe.exam.verification.ending import check_budget, check_ending
from spiritsafe.stats.sequential.design import StopRule

CLAIM = Claim(kind="score at least", score=0.5)
STOP = StopRule(num_problems=40, num_looks=5)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return make_stage(tmp_path_factory.mktemp("stage"), count=80)


@pytest.fixture(scope="module")
def complete(stage):
    return stage.certificate(ToyModel(name="even", skill=0.5), name="even", claim=CLAIM, stop=STOP)


@pytest.fixture(scope="module")
def stopped(stage):
    return stage.certificate(ToyModel(name="good", skill=1.0), name="good", claim=CLAIM, stop=STOP)


@pytest.fixture(scope="module")
def broke(stage):
    budget = Budget(max_tokens=400)
    return stage.certificate(ToyModel(name="broke"), name="broke", budget=budget)


def check(certificate, **changes):
    registration = changes.pop("registration", certificate.registration)
    result = certificate.result.model_copy(update=changes)
    return check_ending(result, certificate.paper, registration)


def cut(certificate, num_asked, ending="stopped by rule"):
    """The same sitting, as if it had ended after so many problems."""
    left_out = set(asking_order(certificate.paper, certificate.registration.stop)[num_asked:])
    kept = tuple(outcome for outcome in certificate.result.outcomes if outcome.index not in left_out)
    return {"not_asked": tuple(sorted(left_out)), "outcomes": kept, "ending": ending}


def test_good_endings_pass(complete, stopped, broke):
    assert check(complete) == "complete: 80 of 80 problems asked"
    assert check(stopped).startswith("stopped by rule")
    assert check(broke).startswith("budget exhausted")


def test_a_bad_problem_left_out_is_found(complete):
    wrong = next(o.index for o in complete.result.outcomes if o.status == "wrong")
    kept = tuple(o for o in complete.result.outcomes if o.index != wrong)
    with pytest.raises(IntegrityError, match="they were picked"):
        check(complete, outcomes=kept, not_asked=(wrong,), ending="stopped by rule")


def test_stopping_where_the_rule_says_go_on_is_found(complete):
    for end in look_ends(complete.paper, STOP)[:-1]:
        with pytest.raises(IntegrityError, match="says to go on"):
            check(complete, **cut(complete, end))


def test_stopping_between_looks_is_found(complete):
    with pytest.raises(IntegrityError, match="no look was registered"):
        check(complete, **cut(complete, look_ends(complete.paper, STOP)[0] + 1))


def test_going_on_where_the_rule_says_stop_is_found(stage, stopped):
    """A host that goes on after a look that decided, because it hopes for more."""
    looks = look_ends(stopped.paper, STOP)
    at = stopped.result.decision.look
    everything = stage.certificate(ToyModel(name="fixed", skill=1.0), name="fixed", claim=CLAIM)
    longer = everything.model_copy(update={"registration": stopped.registration})
    with pytest.raises(IntegrityError, match=f"At look {at} the registered rule says to stop"):
        check(longer)
    with pytest.raises(IntegrityError, match=f"At look {at} the registered rule says to stop"):
        check(longer, **cut(longer, looks[at]))


@pytest.mark.parametrize("ending", ["stopped by rule", "budget exhausted"])
def test_ending_early_without_having_registered_it_is_found(stage, ending):
    plain = stage.certificate(ToyModel(name="plain"), name="plain")
    with pytest.raises(IntegrityError, match=r"no look was registered|never registered"):
        check(plain, **cut(plain, 40, ending))


def test_words_and_problems_must_agree(complete, stopped):
    with pytest.raises(IntegrityError, match="left out 0 problems"):
        check(complete, ending="budget exhausted")
    with pytest.raises(IntegrityError, match='"complete"'):
        check(stopped, ending="complete")


def budget_of(stage, certificate, registration=None, **changes):
    result = certificate.result.model_copy(update=changes)
    return check_budget(result, stage.paper, registration or certificate.registration)


def test_a_kept_budget_passes(stage, broke, complete):
    assert "within the budget" in budget_of(stage, broke)
    assert budget_of(stage, complete) == "no budget was registered"


def test_a_budget_that_was_passed_is_found(stage, broke):
    with pytest.raises(IntegrityError, match="more than its budget"):
        budget_of(stage, broke, num_tokens=500)


def test_a_budget_that_was_not_used_up_is_found(stage, broke):
    """A host that calls the budget exhausted when the score looks good."""
    large = broke.registration.model_copy(update={"budget": Budget(max_tokens=5_000)})
    with pytest.raises(IntegrityError, match="room for another question"):
        budget_of(stage, broke, registration=large)


def test_costs_follow_from_tokens(stage, broke):
    with pytest.raises(IntegrityError, match="does not follow"):
        budget_of(stage, broke, cost=1.0)
    priced = broke.registration.model_copy(
        update={"budget": Budget(max_cost=0.4, prompt_price=1000.0, completion_price=1000.0)}
    )
    tokens = broke.result.num_prompt_tokens + broke.result.num_tokens
    assert "within the budget" in budget_of(stage, broke, registration=priced, cost=tokens / 1000)
    with pytest.raises(IntegrityError, match="does not follow"):
        budget_of(stage, broke, registration=priced)


def test_time_must_have_run_out(stage, broke):
    timed = broke.registration.model_copy(update={"budget": Budget(max_seconds=3600)})
    with pytest.raises(IntegrityError, match="room for another question"):
        budget_of(stage, broke, registration=timed)
    late = "2999-01-01T00:00:00.000Z"
    assert budget_of(stage, broke, registration=timed, finished=late)


@pytest.mark.parametrize("started", ["2999-01-01T00:00:00.000Z", *IMPOSSIBLE])
def test_a_clock_that_was_wrong_at_the_start_contradicts_nothing(stage, broke, started):
    timed = broke.registration.model_copy(update={"budget": Budget(max_seconds=3600)})
    assert budget_of(stage, broke, registration=timed, started=started)
