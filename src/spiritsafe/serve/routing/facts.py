"""What the list of models tells of a router: whom it asks, by which rule, and what the rule was worth."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from spiritsafe.serve.routing.records import Router
from spiritsafe.stats import Estimate


def router_facts(router: Router, names: Mapping[str, str]) -> dict[str, JsonValue]:
    """For the entry of the model that it is served as.

    Args:
        names: What its rungs are called here, by digest.
    """
    point = router.point
    return {
        "router": {
            "kind": router.kind,
            "task": router.task,
            "cost_in": router.cost,
            "rungs": [
                {
                    "name": names[rung.digest],
                    "digest": rung.digest,
                    "answered": share,
                    "accuracy": _told(rung.accuracy),
                    "cost": _told(rung.cost),
                }
                for rung, share in zip(router.rungs, point.answered, strict=True)
            ],
            "threshold": point.threshold,
            "chosen_for": router.chosen_for,
            "accuracy": _told(point.accuracy),
            "cost": _told(point.cost),
            "gain": _told(point.gain),
            "is_better": router.is_better,
        }
    }


def _told(estimate: Estimate) -> JsonValue:
    return {"value": estimate.value, "interval": [estimate.low, estimate.high], "confidence": estimate.confidence}
