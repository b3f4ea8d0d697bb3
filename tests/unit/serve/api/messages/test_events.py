from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from anthropic.types.shared import ErrorResponse
from messages_judge import judged_error, judged_message, judged_stream, strictly_anthropic
from served_app import TALK, Reply, serving
from served_engine import FakeEngine, Script, calls, fails, says

from spiritsafe.core.serving import AnswerPiece, Ended, Failed, Job, JobEvent, Part

PATH = "/v1/messages"
TOOLS = [{"name": name, "input_schema": {"type": "object"}} for name in ("weather", "clock")]


def ask(script: Script, **fields: Any) -> Reply:
    async def scenario() -> Reply:
        async with serving(FakeEngine(script)) as server:
            return await server.post(PATH, {"model": "fake", "max_tokens": 9, "messages": TALK, **fields})

    return asyncio.run(scenario())


def everything(job: Job) -> Iterable[JobEvent]:
    """Thought, text, two calls, and text behind them, in steps that hold several parts or none."""
    yield AnswerPiece(parts=(Part(kind="thought", text="Why?"), Part(kind="text", text="I ")))
    yield AnswerPiece()
    yield AnswerPiece(parts=(Part(kind="text", text="look."), Part(kind="call", text="weather")))
    yield AnswerPiece(parts=(Part(kind="arguments", text='{"town":'),))
    yield AnswerPiece(parts=(Part(kind="arguments", text='"Lund"}'), Part(kind="call", text="clock")))
    yield AnswerPiece(parts=(Part(kind="arguments", text="{}"), Part(kind="text", text="Wait.")))
    yield Ended(reason="calls", num_tokens=20, num_thought_tokens=3)


def stopped(job: Job) -> Iterable[JobEvent]:
    yield AnswerPiece(parts=(Part(kind="text", text="One, two"),))
    yield Ended(reason="stop", num_tokens=4, stop=job.stop[0])


def nothing(job: Job) -> Iterable[JobEvent]:
    yield Ended(reason="stop", num_tokens=1)


SCRIPTS: dict[str, tuple[Script, tuple[str, str | None]]] = {
    "text": (says("It", " rains", "."), ("end_turn", None)),
    "thought": (says("It", " rains.", thought=("Look", " out")), ("end_turn", None)),
    "cut": (says("It", " rains", reason="length"), ("max_tokens", None)),
    "calls": (calls(("weather", '{"town":"Ghent"}'), ("clock", "{}"), text="I look."), ("tool_use", None)),
    "everything": (everything, ("tool_use", None)),
    "stopped": (stopped, ("stop_sequence", "three")),
    "nothing": (nothing, ("end_turn", None)),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_whole_answers_and_streams_hold_before_the_judge_and_say_the_same(name: str) -> None:
    script, reason = SCRIPTS[name]
    whole = judged_message(ask(script, tools=TOOLS, stop_sequences=["three"]).json)
    streamed = judged_stream(ask(script, tools=TOOLS, stop_sequences=["three"], stream=True).events)
    stems = [answer.id.removeprefix("msg_") for answer in (whole, streamed)]
    told = [answer.model_dump_json().replace(stem, "") for answer, stem in zip((whole, streamed), stems, strict=True)]
    assert told[0] == told[1]
    assert (whole.stop_reason, whole.stop_sequence) == reason


def test_everything_is_told_in_blocks() -> None:
    answer = judged_message(ask(everything, tools=TOOLS).json)
    thought, text, weather, clock, last = answer.content
    assert thought.type == "thinking"
    assert thought.thinking == "Why?"
    assert text.type == last.type == "text"
    assert (text.text, last.text) == ("I look.", "Wait.")
    assert weather.type == clock.type == "tool_use"
    assert (weather.name, weather.input, clock.input) == ("weather", {"town": "Lund"}, {})
    assert weather.id != clock.id
    usage = answer.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (5, 2, 20)
    assert usage.output_tokens_details is not None
    assert usage.output_tokens_details.thinking_tokens == 3


def test_a_call_that_was_cut_off_has_no_input() -> None:
    def cut(job: Job) -> Iterable[JobEvent]:
        yield AnswerPiece(parts=(Part(kind="call", text="weather"), Part(kind="arguments", text='{"to')))
        yield Ended(reason="length", num_tokens=4)

    answer = judged_message(ask(cut, tools=TOOLS).json)
    assert answer.stop_reason == "max_tokens"
    assert answer.content[0].type == "tool_use"
    assert answer.content[0].input == {}


def test_a_stream_that_breaks_ends_with_an_error() -> None:
    reply = ask(fails(Failed(fault="model", message="Broken."), after=("It",)), stream=True)
    name, last = reply.events[-1]
    assert name == "error"
    strictly_anthropic(ErrorResponse, last)
    assert last["error"]["type"] == "api_error"


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_worker_refuses_is_told_in_the_words_of_the_request(stream: bool) -> None:
    failed = Failed(fault="asker", message="No.", param="stop", code="unsupported")
    reply = ask(fails(failed), stream=stream)
    error = judged_error(reply)
    assert (reply.status, error["type"], error["param"]) == (400, "invalid_request_error", "stop_sequences")
