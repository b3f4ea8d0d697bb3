from __future__ import annotations

import json
from typing import Any

from routing_parts import LARGE, SMALL, simple_router

from spiritsafe.serve.routing.facts import router_facts


def test_rungs_have_the_names_of_this_server_and_the_rule_its_worth() -> None:
    router = simple_router("cascade")
    told: Any = json.loads(json.dumps(router_facts(router, {SMALL: "one", LARGE: "two"})))["router"]
    assert [(rung["name"], rung["digest"], rung["answered"]) for rung in told["rungs"]] == [
        ("one", SMALL, 0.5),
        ("two", LARGE, 0.5),
    ]
    assert (told["kind"], told["threshold"], told["is_better"]) == ("cascade", 0.8, True)
    point = router.point.accuracy
    assert told["accuracy"] == {"value": point.value, "interval": [point.low, point.high], "confidence": 0.95}
