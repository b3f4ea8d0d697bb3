"""The model ``auto``: the rung that answers says so, streams where it can, and nothing that was held back leaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, cast

import pytest
from aiohttp.test_utils import TestClient, TestServer
from routing_parts import LARGE, SMALL, asked, simple_router
from served_engine import FakeEngine, Script, fails, says, served_model

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.serving import (
    Accepted,
    AnswerPiece,
    Ended,
    EndReason,
    Failed,
    Job,
    JobEvent,
    LikelyToken,
    Part,
    ServedEngine,
    Token,
    Withheld,
)
from spiritsafe.serve import Deployment, Hooks, Usage, make_app
from spiritsafe.serve.routing.engine import RoutedEngine
from spiritsafe.serve.routing.records import Router

SHORT, LONG = asked("2 + 2?"), asked("word " * 100)
BROKEN = Failed(fault="model", message="The process ended.")
TOO_LONG = Failed(fault="asker", message="Too long.", param="messages", code="context_length_exceeded")


def run_in_loop(scenario: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(scenario)


def engines(small: Script | None = None, large: Script | None = None, **of_small: object) -> list[FakeEngine]:
    return [
        FakeEngine(small or says("small"), model=served_model("small", digest=SMALL, **of_small)),
        FakeEngine(large or says("large"), model=served_model("large", digest=LARGE, max_prompt_bytes=9000)),
    ]


def routed(router: Router, both: list[FakeEngine]) -> RoutedEngine:
    served: dict[str, ServedEngine] = {SMALL: both[0], LARGE: both[1], "sha256:another": FakeEngine()}
    return RoutedEngine(router, served)


async def events_of(engine: RoutedEngine, job: Job) -> list[JobEvent]:
    return [event async for event in engine.run(job) if not isinstance(event, Withheld)]


def text_of(events: list[JobEvent]) -> str:
    return "".join(part.text for event in events if isinstance(event, AnswerPiece) for part in event.parts)


def who(events: list[JobEvent]) -> str:
    (accepted,) = [event for event in events if isinstance(event, Accepted)]
    assert accepted.answered_by is not None
    return accepted.answered_by.name


def unsure(word: str, *, logprob: float = -4.0, reason: EndReason = "stop") -> Script:
    """A word whose token had a log-probability, told to those who ask."""

    def script(job: Job) -> list[JobEvent]:
        token = Token(drawn=LikelyToken(id=1, text=word, bytes=tuple(word.encode()), logprob=logprob))
        tokens = () if job.top_logprobs is None else (token,)
        return [AnswerPiece(parts=(Part(kind="text", text=word),), tokens=tokens), Ended(reason=reason, num_tokens=2)]

    return script


def test_it_satisfies_the_protocol_and_describes_what_any_rung_can() -> None:
    both = engines(shows_tools=False)
    engine: ServedEngine = routed(simple_router(), both)
    model = run_in_loop(engine.describe())
    assert (model.name, model.digest) == ("auto", simple_router().content_digest)
    assert (model.max_prompt_bytes, model.shows_tools) == (9000, True)
    assert model.notes == ("Asks small, large: by the prompt.",)
    best = run_in_loop(routed(simple_router("best", threshold=1.0), both).describe())
    assert best.notes == model.notes
    with pytest.raises(CompatibilityError, match="large"):
        RoutedEngine(simple_router(), {SMALL: both[0]})
    poor = simple_router().model_copy(update={"is_better": False})
    assert "no better" in run_in_loop(routed(poor, both).describe()).notes[1]


def test_the_prompt_decides_and_pieces_come_at_once() -> None:
    async def scenario() -> None:
        both = engines(says("a", "b", "c"))
        engine = routed(simple_router(), both)
        both[0].hold()
        running = cast("AsyncGenerator[JobEvent, None]", engine.run(Job(messages=SHORT)))
        assert who([await anext(running)]) == "small"
        assert text_of([await anext(running)]) == "a"  # while the rest is held
        await running.aclose()
        await both[0].idle()
        assert who(await events_of(engine, Job(messages=LONG))) == "large"
        assert text_of(await events_of(engine, Job(text="word " * 100))) == "large"
        assert len(both[0].jobs) == 1
        assert await engine.count(Job(messages=LONG)) == 7
        await engine.close()

    run_in_loop(scenario())


@pytest.mark.parametrize(("field", "value"), [("logit_bias", ((5, 1.0),)), ("token_ids", (1, 2))])
def test_what_hangs_on_a_vocabulary_is_refused_by_name(field: str, value: object) -> None:
    async def scenario() -> None:
        both = engines()
        prompt = {} if field == "token_ids" else {"messages": SHORT}
        job = Job.model_validate({**prompt, field: value})
        engine = routed(simple_router(), both)
        (failed,) = await events_of(engine, job)
        assert isinstance(failed, Failed)
        assert (failed.fault, failed.param, failed.code) == ("asker", field, "unsupported")
        assert await engine.count(job) == failed
        assert not both[0].jobs + both[1].jobs

    run_in_loop(scenario())


@pytest.mark.parametrize("failure", [BROKEN, TOO_LONG])
@pytest.mark.parametrize("kind", ["prompt", "cascade"])
def test_a_rung_that_cannot_begin_is_passed_over(failure: Failed, kind: Any) -> None:
    async def scenario() -> None:
        engine = routed(simple_router(kind), engines(fails_at_once(failure)))
        events = await events_of(engine, Job(messages=SHORT))
        assert (who(events), text_of(events)) == ("large", "large")
        both = routed(simple_router(kind), engines(fails_at_once(failure), fails_at_once(failure)))
        assert await events_of(both, Job(messages=SHORT)) == [failure]  # the last one's word

    run_in_loop(scenario())


def fails_at_once(failed: Failed) -> Script:
    return lambda job: [failed]


@pytest.mark.parametrize("kind", ["prompt", "cascade"])
def test_what_the_asker_did_wrong_is_told_at_once(kind: Any) -> None:
    wrong = Failed(fault="asker", message="No such grammar.", param="form", code="invalid")

    async def scenario() -> None:
        both = engines(fails_at_once(wrong))
        assert await events_of(routed(simple_router(kind), both), Job(messages=SHORT)) == [wrong]
        assert not both[1].jobs

    run_in_loop(scenario())


def test_a_failure_in_the_middle_is_not_hidden() -> None:
    async def scenario() -> None:
        events = await events_of(routed(simple_router(), engines(fails(BROKEN, after=["a"]))), Job(messages=SHORT))
        assert events[-1] == BROKEN
        assert text_of(events) == "a"

    run_in_loop(scenario())


def test_tools_and_size_go_to_rungs_that_can() -> None:
    async def scenario() -> None:
        both = engines(shows_tools=False, max_prompt_bytes=20)
        engine = routed(simple_router(), both)
        tool = SHORT[0].model_copy(update={"tools": ('{"type": "function", "function": {"name": "f"}}',)})
        assert who(await events_of(engine, Job(messages=(tool,)))) == "large"
        assert who(await events_of(engine, Job(messages=asked("2 + 2 is what it is?")))) == "small"
        assert who(await events_of(engine, Job(messages=asked("二加二等于多少？二加二")))) == "large"  # by its bytes
        assert who(await events_of(engine, Job(messages=asked("x" * 100_000)))) == "large"  # which says that it is long

    run_in_loop(scenario())


def test_a_cascade_keeps_what_is_sure_and_shows_no_logprobs_that_nobody_asked_for() -> None:
    async def scenario() -> None:
        both = engines(unsure("sure", logprob=-0.01))
        events = await events_of(routed(simple_router("cascade"), both), Job(messages=LONG))
        assert (who(events), text_of(events)) == ("small", "sure")
        assert both[0].jobs[0].top_logprobs == 0
        assert not both[1].jobs
        assert all(not event.tokens for event in events if isinstance(event, AnswerPiece))
        events = await events_of(routed(simple_router("cascade"), both), Job(messages=LONG, top_logprobs=3))
        assert both[0].jobs[1].top_logprobs == 3
        assert any(event.tokens for event in events if isinstance(event, AnswerPiece))

    run_in_loop(scenario())


@pytest.mark.parametrize("script", [unsure("unsure"), lambda job: [Ended(reason="length", num_tokens=0)]])
def test_a_cascade_drops_what_is_unsure_or_has_no_logprobs_and_streams_the_last(script: Script) -> None:
    async def scenario() -> None:
        both = engines(script, says("one", "two"))
        both[1].hold()
        running = cast(
            "AsyncGenerator[JobEvent, None]", routed(simple_router("cascade"), both).run(Job(messages=SHORT))
        )
        first = [await anext(running)]
        while isinstance(first[-1], Withheld):
            first = [await anext(running)]
        first.append(await anext(running))
        assert (who(first), text_of(first)) == ("large", "one")  # at once, and nothing of the small one's
        await running.aclose()
        await asyncio.gather(*(engine.idle() for engine in both))
        assert both[1].jobs[0].top_logprobs is None

    run_in_loop(scenario())


def test_leaving_a_cascade_frees_the_slot_while_the_answer_is_held_back() -> None:
    async def scenario() -> None:
        both = engines(says("a", "b"))
        both[0].hold()
        engine = routed(simple_router("cascade"), both)
        reader = asyncio.create_task(events_of(engine, Job(messages=SHORT)))
        await both[0].begun.wait()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await both[0].idle()
        assert not both[1].jobs

    run_in_loop(scenario())


@pytest.mark.parametrize("stream", [False, True])
def test_over_http_the_head_of_an_answer_names_the_rung(stream: bool) -> None:
    async def scenario() -> None:
        engine = routed(simple_router(), engines())
        app = make_app({"auto": Deployment(engine=engine, model=await engine.describe())})
        async with TestClient(TestServer(app)) as client:
            for messages, digest in ((SHORT, SMALL), (LONG, LARGE)):
                body = {"model": "auto", "stream": stream, "messages": [one.to_json() for one in messages]}
                async with client.post("/v1/chat/completions", json={**body, "n": 2}) as reply:
                    assert (reply.status, (await reply.json())["error"]["param"]) == (400, "n")
                async with client.post("/v1/chat/completions", json=body) as reply:
                    assert reply.status == 200, await reply.text()
                    assert reply.headers["spiritsafe-rung"] == ("small" if digest == SMALL else "large")
                    assert reply.headers["spiritsafe-model-digest"] == digest
                    assert ("small" if digest == SMALL else "large") in await reply.text()

    run_in_loop(scenario())


def test_what_was_drawn_and_dropped_is_counted() -> None:
    async def scenario() -> None:
        for script, num_dropped in (
            (unsure("unsure"), 2),
            (fails(BROKEN, after=["a", "b"]), 2),
            (fails_at_once(BROKEN), 0),
        ):
            events = await events_of(routed(simple_router("cascade"), engines(script)), Job(messages=SHORT))
            assert who(events) == "large"
            assert [event.num_dropped for event in events if isinstance(event, Accepted)] == [num_dropped]
        events = await events_of(
            routed(simple_router("cascade"), engines(unsure("sure", logprob=-0.01))), Job(messages=SHORT)
        )
        assert [event.num_dropped for event in events if isinstance(event, Accepted)] == [0]

    run_in_loop(scenario())


class Kept:
    """The ledger's hook, and what it was told."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[Usage] = asyncio.Queue()

    def record(self, usage: Usage) -> None:
        self.told.put_nowait(usage)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["small", "auto"])
def test_who_leaves_a_cascade_in_the_middle_has_used_what_who_leaves_its_model_has(name: str, stream: bool) -> None:
    """The large one holds, and the small one too, each after its first piece."""

    async def left(script: Script, holds: int) -> tuple[Usage, str]:
        both, kept = engines(script), Kept()
        both[holds].hold()
        engine = routed(simple_router("cascade"), both)
        models = {"auto": Deployment(engine=engine, model=await engine.describe())}
        models["small"] = Deployment(engine=both[0], model=both[0].model)
        server = TestServer(make_app(models, hooks=Hooks(recorder=kept)), handler_cancellation=True)
        async with TestClient(server) as client:
            body = {"model": name, "stream": stream, "messages": [one.to_json() for one in SHORT]}
            reading = asyncio.create_task(client.post("/v1/chat/completions", json=body))
            await both[holds].begun.wait()
            if name == "small" and stream:
                (await reading).close()
            reading.cancel()
            usage = await kept.told.get()
            await asyncio.gather(*(one.idle() for one in both))
        return usage, usage.answered_by

    async def scenario() -> None:
        usage, by = await left(says("a", "b"), 0)
        assert (by, usage.outcome, usage.status, usage.first_s is None) == ("small", "cancelled", 499, name == "auto")
        assert (usage.num_prompt_tokens, usage.num_cached, usage.num_tokens, usage.num_dropped) == (7, 2, 1, 0)
        if name == "auto":
            usage, by = await left(unsure("unsure"), 1)
            assert (by, usage.num_prompt_tokens, usage.num_tokens, usage.num_dropped) == ("large", 7, 1, 2)

    run_in_loop(scenario())


def test_what_a_cascade_drew_is_counted_where_its_last_rung_fails() -> None:
    async def scenario() -> None:
        engine = routed(simple_router("cascade"), engines(unsure("unsure"), fails_at_once(BROKEN)))
        kept = Kept()
        models = {"auto": Deployment(engine=engine, model=await engine.describe())}
        async with TestClient(TestServer(make_app(models, hooks=Hooks(recorder=kept)))) as client:
            body = {"model": "auto", "messages": [one.to_json() for one in SHORT]}
            async with client.post("/v1/chat/completions", json=body) as reply:
                assert reply.status == 500
        usage = kept.told.get_nowait()
        assert (usage.answered_by, usage.num_prompt_tokens, usage.num_tokens, usage.num_dropped) == ("small", 7, 0, 2)

    run_in_loop(scenario())


def test_a_wish_about_thoughts_goes_to_a_rung_that_can() -> None:
    async def scenario() -> None:
        both = engines(thinks=False)
        engine = routed(simple_router(), both)
        assert (await engine.describe()).switches_thinking
        assert who(await events_of(engine, Job(messages=SHORT, thinking=True))) == "large"
        assert who(await events_of(engine, Job(messages=SHORT, thinking=False))) == "small"

    run_in_loop(scenario())


def test_rungs_have_the_names_that_they_are_served_by() -> None:
    async def scenario() -> None:
        both = engines()
        served: dict[str, ServedEngine] = {SMALL: both[0], LARGE: both[1]}
        engine = RoutedEngine(simple_router(), served, names={SMALL: "s", LARGE: "l"})
        assert (await engine.describe()).notes == ("Asks s, l: by the prompt.",)
        assert who(await events_of(engine, Job(messages=LONG))) == "l"

    run_in_loop(scenario())
