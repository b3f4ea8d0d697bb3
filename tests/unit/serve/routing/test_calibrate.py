"""Routers from evidence: better than a coin where prompts tell something, honest where they do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from routing_parts import asked, evidence

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.serve.routing.calibrate import calibrate_router
from spiritsafe.serve.routing.evidence import RouteEvidence
from spiritsafe.serve.routing.features import features_of

STRANGERS = [
    "      PROGRAM MAIN\n      DO 10 I = 1, 10\n   10 CONTINUE\n      END",
    "IDENTIFICATION DIVISION.\nPROGRAM-ID. HELLO.\nPROCEDURE DIVISION.\n    STOP RUN.",
    "Сколько будет два плюс два?",
    "二加二等于多少？",
    "",
    "lorem ipsum " * 100_000,
]


def test_a_router_that_sees_what_is_hard_beats_the_coin_and_keeps_its_promise() -> None:
    router = calibrate_router(evidence(400, num_samples=2), max_loss=0.05)
    assert router.is_better
    assert router.threshold is not None
    assert router.scores[0].says_something
    assert router.scores[0].auc == pytest.approx(1.0, abs=0.05)
    assert not router.scores[1].says_something  # the large rung is as good everywhere
    assert router.point.gain.low > 0.05
    assert 0.4 < router.point.answered[0] < 0.6
    assert router.point.cost.value < 6.5
    assert router.curve[0].answered == (0.0, 1.0)
    assert router.curve[0].accuracy == router.rungs[1].accuracy
    assert router.curve[-1].threshold == 0.0
    assert router.ceiling.accuracy.value >= max(point.accuracy.value for point in router.curve)
    assert router.pick(asked("What is 12 + 12? (7)")) == 0
    assert router.pick(asked("What is " + " + ".join(["12"] * 9) + "? (7)")) == 1
    assert [router.pick(asked(text)) for text in STRANGERS] == [1] * len(STRANGERS)
    assert calibrate_router(evidence(400, num_samples=2), max_loss=0.05).canonical() == router.canonical()


def test_where_prompts_say_nothing_the_report_says_so() -> None:
    router = calibrate_router(evidence(300, says=0.0), max_loss=0.02)
    assert not router.is_better
    assert not any(scores.says_something for scores in router.scores)
    assert router.point.accuracy.value == pytest.approx(router.rungs[-1].accuracy.value, abs=0.01)
    assert router.point.answered[-1] > 0.95
    gains = [point.gain for point in router.curve]
    assert np.mean([gain.low > 0 for gain in gains]) < 0.1


def test_a_cascade_goes_by_how_sure_an_answer_is() -> None:
    found = evidence(300, num_samples=2)
    router = calibrate_router(found, kind="cascade", max_loss=0.05)
    assert router.is_better
    assert router.threshold is not None
    assert len(router.chances) == 1
    assert router.pick(asked("What is 12 + 12? (7)")) == 0
    sure, unsure = np.array([4.0, 0.0, 0.0, 0.0]), np.array([-3.0, 0.0, 0.0, 0.0])
    assert router.is_enough(0, sure)
    assert not router.is_enough(0, unsure)
    assert not router.is_enough(0, np.full(4, np.nan))
    assert router.is_enough(1, unsure)
    assert [router.pick(asked(text)) for text in STRANGERS] == [1] * len(STRANGERS)
    asked_both = next(point for point in router.curve if point.threshold == 1.0)
    assert asked_both.cost.value == pytest.approx(11.0, abs=0.2)  # both are paid
    hidden = replace(found, confidence_RPSC=np.full_like(found.confidence_RPSC, np.nan))
    with pytest.raises(CompatibilityError, match="no log-probabilities"):
        calibrate_router(hidden, kind="cascade")


def test_a_wanted_cost() -> None:
    found = evidence(200)
    router = calibrate_router(found, max_cost=7.0)
    assert router.point.cost.high <= 7.0
    assert router.is_better
    with pytest.raises(CompatibilityError, match=r"No rule costs 0\.5"):
        calibrate_router(found, max_cost=0.5)
    for loss in (0.0, 1.0, float("nan")):
        with pytest.raises(RecipeError, match="max_loss"):
            calibrate_router(found, max_loss=loss)


def test_it_learns_from_no_problem_that_it_is_scored_on() -> None:
    """Prompts that each have a word of their own could be learnt by heart; their answers are coins."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijklmnop"), 12)) for _ in range(120)]
    found = evidence(120, says=0.0)
    found = replace(found, features_PX=np.array([features_of(asked(word)) for word in words]))
    router = calibrate_router(found)
    assert router.scores[0].brier > router.scores[0].constant_brier - 0.01


def specialists(num: int, *, third: float = 0.0, own: float = 0.9) -> RouteEvidence:
    """Two rungs of one cost, each right at its own kind of prompt; a third and costliest one that is good at nothing.

    Args:
        third: What the third is right at.
        own: What each is right at of its own.
    """
    rng = np.random.default_rng(0)
    is_code = rng.random(num) < 0.5
    prompts = [f"{'Write a subroutine' if one else 'What is the weather'} of {rng.integers(100)}?" for one in is_code]
    truth = np.array([np.where(is_code, own, 1.0 - own), np.where(is_code, 1.0 - own, own), np.full(num, third)])
    right = (rng.random(truth.shape) < truth).astype(float)[..., None]
    costs = np.broadcast_to(np.array([1.0, 1.0, 1.5])[:, None, None], right.shape).copy()
    return replace(
        evidence(num),
        names=("coder", "talker", "largest"),
        digests=tuple("sha256:" + f"{rung}" * 64 for rung in range(3)),
        samplings=(evidence(2).samplings[0],) * 3,
        collections=tuple("sha256:" + f"{rung}" * 64 for rung in range(3)),
        features_PX=np.array([features_of(asked(prompt)) for prompt in prompts]),
        right_RPS=right,
        costs_RPS=costs,
        confidence_RPSC=np.zeros((*right.shape, 4)),
    )


def test_specialists_of_one_size_are_asked_for_what_they_are_best_at() -> None:
    found = specialists(120)
    router = calibrate_router(found, kind="best")
    assert (router.threshold, router.is_better) == (1.0, True)
    assert router.point.accuracy.value > 0.75 > max(rung.accuracy.value for rung in router.rungs) + 0.1
    assert router.pick(asked("Write a subroutine of 5?")) == 0
    assert router.pick(asked("What is the weather of 5?")) == 1
    best = int(np.argmax([rung.accuracy.value for rung in router.rungs]))
    assert best != 2
    assert [router.pick(asked(text)) for text in STRANGERS] == [best] * len(STRANGERS)
    assert calibrate_router(found, kind="best").canonical() == router.canonical()
    # the promise to the largest rung would have been kept by asking it for strangers
    assert [calibrate_router(found).pick(asked(text)) for text in STRANGERS] == [2] * len(STRANGERS)


def test_the_likeliest_is_asked_where_no_promise_could_be_shown() -> None:
    """With few problems nothing is shown to keep up with a costliest rung, although it is less often right."""
    found = specialists(55, third=0.75)
    assert calibrate_router(found, max_loss=0.01).threshold is None
    router = calibrate_router(found, kind="best")
    assert router.threshold == 1.0
    assert router.point.answered[2] < 0.1
    assert router.point.accuracy.value > router.rungs[2].accuracy.value + 0.1


def test_a_strange_problem_is_played_as_it_will_be_picked() -> None:
    """It goes to the rung that was most accurate at all others, although its chances speak for another one."""
    found, stranger = specialists(100, own=1.0), asked("Write a subroutine of 二加二等于多少")
    features, right = found.features_PX.copy(), found.right_RPS.copy()
    features[0], right[:, 0, 0] = features_of(stranger), (1.0, 0.0, 0.0)
    others = calibrate_router(
        replace(
            found,
            problems=found.problems[1:],
            features_PX=features[1:],
            right_RPS=right[:, 1:],
            costs_RPS=found.costs_RPS[:, 1:],
        ),
        kind="best",
    )
    assert others.is_strange(stranger)
    assert others.chances[0].of(features[:1])[0] > 0.9
    assert others.rungs[1].accuracy.value > others.rungs[0].accuracy.value
    assert others.pick(stranger) == 1
    assert others.point.accuracy.value == 1.0
    router = calibrate_router(replace(found, features_PX=features, right_RPS=right), kind="best")
    assert router.point.accuracy.value == 0.99
