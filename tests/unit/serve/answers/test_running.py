from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from served_engine import FakeEngine, calls, says

from spiritsafe.core.serving import Accepted, AnswerPiece, Ended, Job, JobEvent, Part
from spiritsafe.serve.answers.running import Collector, running

JOBS = [Job(text=text) for text in "abc"]


@pytest.mark.parametrize("num", [1, 3])
def test_leaving_closes_every_job(num: int) -> None:
    engine = FakeEngine()
    engine.hold()

    async def scenario() -> None:
        async with running(engine, JOBS[:num]) as events:
            async for _, event in events:
                if isinstance(event, AnswerPiece):
                    break
        assert engine.num_running == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("num", [1, 3])
def test_events_keep_the_order_of_their_job(num: int) -> None:
    async def scenario() -> list[tuple[int, JobEvent]]:
        async with running(FakeEngine(says("x", "y")), JOBS[:num]) as events:
            return [event async for event in events]

    told = asyncio.run(scenario())
    for index in range(num):
        own = [type(event) for number, event in told if number == index]
        assert own == [Accepted, AnswerPiece, AnswerPiece, Ended]


def broken(job: Job) -> Iterable[JobEvent]:
    yield AnswerPiece(parts=(Part(kind="text", text="x"),))
    raise ZeroDivisionError


@pytest.mark.parametrize("num", [1, 3])
def test_an_error_of_one_job_ends_all(num: int) -> None:
    engine = FakeEngine(broken)

    async def scenario() -> None:
        async with running(engine, JOBS[:num]) as events:
            async for _ in events:
                pass

    with pytest.raises(ZeroDivisionError):
        asyncio.run(scenario())
    assert engine.num_running == 0


def test_neighbours_of_one_kind_are_one_part() -> None:
    collector, counting = Collector(), Collector(keep=False)
    script = calls(("f", '{"a":1}'), ("g", "{}"), text="Hm.")
    for event in (Accepted(num_prompt_tokens=3), *script(JOBS[0])):
        for one in (collector, counting):
            one.add(event)  # type: ignore[arg-type]
    answer = collector.answer()
    assert [part.kind for part in answer.parts] == ["text", "call", "arguments", "call", "arguments"]
    assert [(call.name, call.arguments) for call in answer.calls] == [("f", '{"a":1}'), ("g", "{}")]
    assert (answer.text, answer.thought) == ("Hm.", "")
    assert counting.answer().parts == ()
    assert counting.counted() == collector.counted()
