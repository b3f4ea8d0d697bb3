from __future__ import annotations

import asyncio

from aiohttp.test_utils import make_mocked_request
from served_engine import served_model

from spiritsafe.serve.hooks import Caller, Hooks


def test_unless_told_otherwise_everybody_may_ask_and_nothing_is_written_down() -> None:
    hooks, model = Hooks(), served_model()

    async def scenario() -> Caller:
        caller = await hooks.authoriser.authorise(make_mocked_request("GET", "/"))
        async with hooks.admission.admit(caller, model, 100):
            return caller

    assert asyncio.run(scenario()) == Caller(name="anonymous", cache_key="")
    assert (hooks.facts.headers(model), hooks.facts.facts(model), hooks.readiness.unready()) == ({}, {}, None)
