from __future__ import annotations

import asyncio

from anthropic.types import MessageTokensCount
from messages_judge import judged_error, strictly_anthropic
from served_app import TALK, serving
from served_engine import FakeEngine

PATH = "/v1/messages/count_tokens"


def test_a_prompt_is_counted_with_its_tools_and_nothing_is_drawn() -> None:
    async def scenario() -> None:
        engine = FakeEngine(num_prompt=23)
        async with serving(engine) as server:
            tools = [{"name": "weather", "input_schema": {"type": "object"}}]
            reply = await server.post(PATH, {"model": "fake", "messages": TALK, "system": "Hm.", "tools": tools})
            assert strictly_anthropic(MessageTokensCount, reply.json).input_tokens == 23
            assert engine.jobs[0].messages[0].tools != ()
            assert engine.num_events == 0
            for field in ("max_tokens", "stream"):
                refused = await server.post(PATH, {"model": "fake", "messages": TALK, field: True})
                assert (refused.status, judged_error(refused)["param"]) == (400, field)

    asyncio.run(scenario())
