"""Drain: from its beginning nothing new comes in, and its end is when the last one has gone."""

from __future__ import annotations

import asyncio

import pytest
from asynchronous import asynchronous

from spiritsafe.serve.operation.drain import Drain
from spiritsafe.serve.refusals import Refusal


@asynchronous
async def test_those_under_way_end_and_new_ones_are_told_when_to_come_again() -> None:
    now = [100.0]
    drain = Drain(clock=lambda: now[0])
    assert drain.unready() is None
    assert await drain.idle(0.0)
    first, second = drain.running(), drain.running()
    first.__enter__()
    second.__enter__()
    drain.begin(20.0)
    drain.begin(99.0)  # the first word counts
    now[0] += 4.5
    with pytest.raises(Refusal) as refused, drain.running():
        pass
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "16")
    assert "2 requests are under way" in str(drain.unready())
    assert not await drain.idle(0.0)
    over = asyncio.create_task(drain.idle(600.0))
    first.__exit__(None, None, None)
    await asyncio.sleep(0)
    assert not over.done()
    second.__exit__(None, None, None)
    assert await over
    now[0] += 1000
    assert drain.refusal().headers["Retry-After"] == "1"
