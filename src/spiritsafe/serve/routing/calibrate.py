"""From graded dev attempts to a router, with the curve that says what it is worth.

In: :class:`~spiritsafe.serve.routing.evidence.RouteEvidence`. Out: a
:class:`~spiritsafe.serve.routing.records.Router`. Every chance that the curve, the scores and the choice of the
threshold stand on was given by models that had not seen the problem; the models in the file have seen all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.serve.routing.evidence import CONFIDENCE, RouteEvidence
from spiritsafe.serve.routing.logistic import NUM_FOLDS, Chance, Mask, fit_chance, folds
from spiritsafe.serve.routing.policy import (
    BEST,
    THRESHOLDS,
    Played,
    cheapest_within_loss,
    gains_over_mixing,
    most_careful_within_cost,
    oracle,
    play_by_prompt,
    play_cascade,
)
from spiritsafe.serve.routing.records import Ceiling, Familiar, RoutedRung, RoutePoint, Router, RouterKind
from spiritsafe.serve.routing.scores import score_chances
from spiritsafe.stats import ClusterBootstrap, Floats


@final
@dataclass(frozen=True, kw_only=True)
class _CrossFitted:
    """Chances by models that had not seen the problem, and the constants of the same folds."""

    chance_RPS: Floats
    constant_RPS: Floats
    strange_P: Mask


def calibrate_router(
    evidence: RouteEvidence,
    *,
    kind: RouterKind = "prompt",
    max_loss: float = 0.01,
    max_cost: float | None = None,
    seed: int = 0,
) -> Router:
    """Learn each rung's chances, play all rules on the dev problems, and choose one.

    Args:
        kind: By the prompt, or a cascade; "best": by the prompt, and whatever it costs.
        max_loss: Most accuracy that may be lost against always asking the largest rung, with 95 % confidence; and
            against the best rule, as seen. Not looked at by "best".
        max_cost: Mean cost of an answer that is wanted instead: the most careful rule below it.
        seed: Of folds and redraws.

    Raises:
        RecipeError: ``max_loss`` is not in [0, 1).
        CompatibilityError: A cascade without log-probabilities; no rule is as cheap as ``max_cost``.
    """
    if not 0.0 < max_loss < 1.0:
        raise RecipeError(
            f"max_loss is {max_loss}.", hint="Give a share above 0 and below 1, such as 0.01 for a point."
        )
    if kind == "cascade" and np.isnan(evidence.confidence_RPSC[:-1]).any():
        raise CompatibilityError(
            "Some attempts have no log-probabilities, which a cascade goes by.",
            hint="Sample the smaller rungs again with a Generator that gives them, or route by prompt.",
        )
    fitted = _cross_fit(evidence, kind, seed)
    if kind == "cascade":
        played = play_cascade(fitted.chance_RPS, fitted.strange_P, evidence.right_RPS, evidence.costs_RPS)
    else:
        played = play_by_prompt(fitted.chance_RPS[..., 0], fitted.strange_P, evidence.right_RPS, evidence.costs_RPS)
    bootstrap = ClusterBootstrap(len(evidence.problems), seed=seed)
    if kind == "best":
        place, words = THRESHOLDS.index(BEST), "whoever is likeliest to be right, whatever that costs"
    else:
        place, words = _choose(evidence, played, bootstrap, max_loss, max_cost)
    curve = _curve(evidence, played, bootstrap)
    right, costs = oracle(evidence.right_RPS, evidence.costs_RPS)
    most = float(evidence.costs_RPS.max())
    return Router(
        kind=kind,
        task=evidence.task,
        cost=evidence.cost,
        num_problems=len(evidence.problems),
        num_samples=evidence.right_RPS.shape[2],
        rungs=_rungs(evidence, bootstrap),
        chances=_chances(evidence, kind, np.ones(len(evidence.problems), dtype=bool), seed),
        scores=tuple(
            score_chances(evidence.right_RPS[rung], chance, fitted.constant_RPS[rung], bootstrap)
            for rung, chance in enumerate(fitted.chance_RPS)
        ),
        familiar=Familiar.of(evidence.features_PX),
        threshold=THRESHOLDS[place],
        chosen_for=words,
        curve=curve,
        ceiling=Ceiling(accuracy=bootstrap.interval(right), cost=bootstrap.interval(costs, most=most)),
        is_better=curve[place].gain.low > 0.0,
        seed=seed,
        data=digest(
            {
                "problems": list(evidence.problems),
                "right": evidence.right_RPS.tolist(),
                "costs": evidence.costs_RPS.tolist(),
            }
        ),
    )


def _chances(evidence: RouteEvidence, kind: RouterKind, learn: Mask, seed: int) -> tuple[Chance, ...]:
    """One model for each rung that needs one, from some of the problems."""
    if kind != "cascade":
        features_PX = evidence.features_PX[learn]
        return tuple(fit_chance(features_PX, right[learn].mean(axis=1), seed=seed) for right in evidence.right_RPS)
    num_samples = evidence.right_RPS.shape[2]
    problem_N = np.repeat(np.arange(len(evidence.problems))[learn], num_samples)
    return tuple(
        fit_chance(confidence[learn].reshape(-1, len(CONFIDENCE)), right[learn].ravel(), problem_N, seed=seed)
        for confidence, right in zip(evidence.confidence_RPSC[:-1], evidence.right_RPS[:-1], strict=True)
    )


def _cross_fit(evidence: RouteEvidence, kind: RouterKind, seed: int) -> _CrossFitted:
    num_rungs = len(evidence.digests) - (kind == "cascade")
    right_RPS = evidence.right_RPS[:num_rungs]
    chance_RPS, constant_RPS = np.empty_like(right_RPS), np.empty_like(right_RPS)
    strange_P = np.zeros(len(evidence.problems), dtype=bool)
    for learn, left_out in folds(np.arange(len(evidence.problems)), NUM_FOLDS, seed):
        strange_P[left_out] = Familiar.of(evidence.features_PX[learn]).strange(evidence.features_PX[left_out]) > 0
        constant_RPS[:, left_out] = right_RPS[:, learn].mean(axis=(1, 2))[:, None, None]
        for rung, chance in enumerate(_chances(evidence, kind, learn, seed)):
            if kind != "cascade":
                chance_RPS[rung, left_out] = chance.of(evidence.features_PX[left_out])[:, None]
            else:
                confidence = evidence.confidence_RPSC[rung, left_out]
                chance_RPS[rung, left_out] = chance.of(confidence.reshape(-1, len(CONFIDENCE))).reshape(
                    confidence.shape[:2]
                )
    if kind == "best":  # as Router.pick does: of strange prompts how good each rung is
        chance_RPS[:, strange_P], strange_P = constant_RPS[:, strange_P], np.zeros_like(strange_P)
    return _CrossFitted(chance_RPS=chance_RPS, constant_RPS=constant_RPS, strange_P=strange_P)


def _choose(
    evidence: RouteEvidence, played: Played, bootstrap: ClusterBootstrap, max_loss: float, max_cost: float | None
) -> tuple[int, str]:
    if max_cost is None:
        place = cheapest_within_loss(
            played,
            evidence.right_RPS[-1].mean(axis=1),
            num_samples=evidence.right_RPS.shape[2],
            max_loss=max_loss,
        )
        points = f"{100 * max_loss:g} points"
        return place, f"at most {points} below the largest rung, with 95 % confidence, and below the best rule as seen"
    place_or_none = most_careful_within_cost(played.cost_TP, bootstrap, max_cost=max_cost)
    if place_or_none is None:
        raise CompatibilityError(
            f"No rule costs {max_cost:g} {evidence.cost} or less; the cheapest rung's answers cost "
            f"{evidence.costs_RPS[0].mean():g}.",
            hint="Allow more, or add a smaller rung.",
        )
    return place_or_none, f"at most {max_cost:g} {evidence.cost} an answer on average, with 95 % confidence"


def _curve(evidence: RouteEvidence, played: Played, bootstrap: ClusterBootstrap) -> tuple[RoutePoint, ...]:
    right_RP, cost_RP = evidence.right_RPS.mean(axis=2), evidence.costs_RPS.mean(axis=2)
    gains = gains_over_mixing(played, right_RP, cost_RP, bootstrap)
    most = float(played.cost_TP.max())
    return tuple(
        RoutePoint(
            threshold=threshold,
            accuracy=bootstrap.interval(played.right_TP[place]),
            cost=bootstrap.interval(played.cost_TP[place], most=most),
            answered=tuple(played.asked_TRP[place].mean(axis=1).tolist()),
            gain=gains[place],
        )
        for place, threshold in enumerate(THRESHOLDS)
    )


def _rungs(evidence: RouteEvidence, bootstrap: ClusterBootstrap) -> tuple[RoutedRung, ...]:
    return tuple(
        RoutedRung(
            name=evidence.names[rung],
            digest=evidence.digests[rung],
            sampling=evidence.samplings[rung],
            attempts=evidence.collections[rung],
            accuracy=bootstrap.interval(evidence.right_RPS[rung].mean(axis=1)),
            cost=bootstrap.interval(
                evidence.costs_RPS[rung].mean(axis=1), most=float(evidence.costs_RPS[rung].mean(axis=1).max())
            ),
        )
        for rung in range(len(evidence.digests))
    )
