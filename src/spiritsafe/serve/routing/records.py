"""``router.json``: a router, all that it decides by, and what it is worth.

In: :func:`spiritsafe.serve.routing.calibrate.calibrate_router` makes a :class:`Router`. Out: the same file everywhere;
:func:`read_router` refuses one that another version of the features made, or whose rungs are not served.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, Self, final

import numpy as np
from pydantic import Field, model_validator

from spiritsafe.core.canonical import short
from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.files.atomic import read_json, write_bytes
from spiritsafe.core.records import Message, Record, Sampling
from spiritsafe.serve.routing.evidence import CONFIDENCE, RouteCost
from spiritsafe.serve.routing.features import FEATURES, MARKERS, NUM_FEATURES, features_of
from spiritsafe.serve.routing.logistic import Chance
from spiritsafe.serve.routing.policy import BEST, choices
from spiritsafe.serve.routing.scores import ChanceScores
from spiritsafe.stats import Estimate, Floats

RouterKind = Literal["best", "prompt", "cascade"]
"""Whether the prompt decides who is asked, by chances alone or by costs too; or the answers do, one after the other."""


@final
class RoutedRung(Record):
    """One model.

    Attributes:
        digest: Of the model whose attempts were learnt from.
        sampling: How they were drawn.
        attempts: Digest of what was collected.
    """

    name: str
    digest: str
    sampling: Sampling
    attempts: str
    accuracy: Estimate
    cost: Estimate


@final
class Familiar(Record):
    """How like the dev prompts a prompt is: the cosine of its hashed grams and their mean.

    Attributes:
        least: All but one in a hundred of the dev prompts have more; what has less is strange: its chances mean little.
    """

    centre: tuple[float, ...]
    least: float

    def strange(self, features_PX: Floats) -> Floats:
        """1 for each prompt that is unlike the dev prompts, else 0."""
        return (_cosines(features_PX, np.asarray(self.centre)) < self.least).astype(np.float64)

    @classmethod
    def of(cls, features_PX: Floats) -> Self:
        """Of some prompts; each is held against the mean of the others."""
        grams = features_PX[:, len(MARKERS) :]
        others = (grams.sum(axis=0) - grams) / max(1, len(grams) - 1)
        norms = np.linalg.norm(grams, axis=1) * np.linalg.norm(others, axis=1)
        cosines = (grams * others).sum(axis=1) / np.maximum(norms, 1e-12)
        centre = grams.mean(axis=0)
        return cls(centre=tuple(float(f"{x:.7g}") for x in centre.tolist()), least=float(np.quantile(cosines, 0.01)))


def _cosines(features_PX: Floats, centre: Floats) -> Floats:
    grams = features_PX[:, len(MARKERS) :]
    norms = np.linalg.norm(grams, axis=1) * np.linalg.norm(centre)
    cosines: Floats = (grams @ centre) / np.maximum(norms, 1e-12)
    return cosines


@final
class RoutePoint(Record):
    """One rule.

    Attributes:
        threshold: None: always the largest rung.
        answered: Share of answers that come from each rung.
        gain: Accuracy over tossing a coin between single rungs at the same mean cost.
    """

    threshold: float | None
    accuracy: Estimate
    cost: Estimate
    answered: tuple[float, ...]
    gain: Estimate


@final
class Ceiling(Record):
    """Who knows which rungs will be right, and asks the cheapest of them: no rule, but what none can pass."""

    accuracy: Estimate
    cost: Estimate


@final
class Router(Record):
    """A router.

    Attributes:
        cost: What costs are counted in.
        rungs: Cheapest first.
        chances: One for each rung; of a cascade, for each but the last.
        scores: Of these chances, at problems that they had not seen.
        threshold: Of the rule that is used; None: always the largest rung.
        chosen_for: In words, what it was chosen for.
        curve: From the most careful rule to the cheapest; accuracies and chances are cross-fitted by problem.
        is_better: The rule in use beats tossing a coin between single rungs, with 95 % confidence. Where it is false
            the router says nothing that a coin does not.
        data: Digest of the problems' ids, grades and costs.
    """

    format: Literal[1] = 1
    kind: RouterKind
    features: int = FEATURES
    task: str
    cost: RouteCost
    num_problems: int = Field(ge=1)
    num_samples: int = Field(ge=1)
    rungs: tuple[RoutedRung, ...] = Field(min_length=2)
    chances: tuple[Chance, ...]
    scores: tuple[ChanceScores, ...]
    familiar: Familiar
    threshold: float | None = Field(ge=0.0, le=1.0)
    chosen_for: str
    curve: tuple[RoutePoint, ...] = Field(min_length=1)
    ceiling: Ceiling
    is_better: bool
    seed: int
    data: str

    @model_validator(mode="after")
    def _fits(self) -> Self:
        num_chances = len(self.rungs) - (self.kind == "cascade")
        size = len(CONFIDENCE) if self.kind == "cascade" else NUM_FEATURES
        if {len(self.chances), len(self.scores)} != {num_chances} or {len(x.weights) for x in self.chances} != {size}:
            raise ValueError("the chances do not fit the rungs")
        if len(self.familiar.centre) != NUM_FEATURES - len(MARKERS):
            raise ValueError("the mean of the prompts does not fit the features")
        if len({rung.digest for rung in self.rungs}) < len(self.rungs):
            raise ValueError("a rung stands twice")
        if all(point.threshold != self.threshold for point in self.curve):
            raise ValueError("the threshold is not on the curve")
        if self.kind == "best" and self.threshold != BEST:
            raise ValueError("the threshold is not that of the highest chance")
        return self

    @property
    def point(self) -> RoutePoint:
        """The rule in use."""
        return next(point for point in self.curve if point.threshold == self.threshold)

    def is_strange(self, messages: Sequence[Message]) -> bool:
        """Whether a conversation is unlike all that was learnt from.

        Then the largest rung is asked; the most accurate one, where costs do not matter.
        """
        return bool(self.familiar.strange(features_of(messages)[None])[0])

    def pick(self, messages: Sequence[Message]) -> int:
        """The place of the rung that a prompt goes to; of a cascade, of the one that is asked first."""
        last = len(self.rungs) - 1
        features_PX = features_of(messages)[None]
        strange_P = self.familiar.strange(features_PX) > 0
        if self.kind == "cascade":
            return last if self.threshold is None or strange_P[0] else 0
        chance_RP = np.array([chance.of(features_PX) for chance in self.chances])
        if self.kind == "best" and strange_P[0]:  # nothing is known of it but how good each rung is
            chance_RP, strange_P = np.array([[rung.accuracy.value] for rung in self.rungs]), np.zeros(1, dtype=bool)
        return int(choices(chance_RP, self.threshold, strange_P)[0])

    def is_enough(self, rung: int, confidence: Floats) -> bool:
        """Whether a cascade keeps an answer; one without log-probabilities is not kept."""
        if rung >= len(self.chances):
            return True
        chance = float(self.chances[rung].of(confidence[None])[0])
        return self.threshold is not None and not np.isnan(chance) and chance >= self.threshold


def write_router(path: Path, router: Router) -> None:
    """Write ``router.json``: canonical JSON, atomically."""
    write_bytes(path, router.canonical() + b"\n")


def read_router(path: Path, served: Collection[str] | None = None) -> Router:
    """Read ``router.json``.

    Args:
        served: Digests of the models that can be asked; None: not looked at.

    Raises:
        SourceError: It cannot be read.
        IntegrityError: It is no router.
        CompatibilityError: It was made with other features, or names models that are not served.
    """
    value = read_json(path)
    if isinstance(value, dict) and value.get("features", FEATURES) != FEATURES:
        raise CompatibilityError(
            f"{path} was made with features of version {value['features']}; these are version {FEATURES}.",
            hint="Calibrate again: spiritsafe serve calibrate.",
        )
    router = Router.from_json(value)
    if served is not None:
        require_served(router, served)
    return router


def require_served(router: Router, served: Collection[str]) -> None:
    """Refuse a router whose rungs are not all served.

    Raises:
        CompatibilityError: One is missing.
    """
    missing = [rung for rung in router.rungs if rung.digest not in served]
    if missing:
        words = ", ".join(f"{rung.name} ({short(rung.digest)})" for rung in missing)
        raise CompatibilityError(
            f"The router was calibrated on models that are not served: {words}.",
            hint="Serve them, the very same weights, or calibrate again on attempts of those that are.",
        )
