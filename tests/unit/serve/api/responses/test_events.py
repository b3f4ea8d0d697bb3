from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from responses_judge import judged_events, judged_response
from served_app import Reply, serving
from served_engine import FakeEngine, Script, calls, fails, says

from spiritsafe.core.serving import Accepted, AnswerPiece, Ended, Failed, Job, JobEvent, Part
from spiritsafe.serve.api.responses import INTERFACE
from spiritsafe.serve.interface import Context

PATH = "/v1/responses"
TOOLS = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in ("weather", "clock")]


def ask(script: Script, **fields: Any) -> Reply:
    async def scenario() -> Reply:
        async with serving(FakeEngine(script)) as server:
            return await server.post(PATH, {"model": "fake", "input": "Hi.", **fields})

    return asyncio.run(scenario())


def everything(job: Job) -> Iterable[JobEvent]:
    """Thought, text, two calls, and text behind them, in steps that hold several parts or none."""
    yield AnswerPiece(parts=(Part(kind="thought", text="Wh"),))
    yield AnswerPiece()
    yield AnswerPiece(parts=(Part(kind="thought", text="y?"), Part(kind="text", text="I ")))
    yield AnswerPiece(parts=(Part(kind="text", text="look."), Part(kind="call", text="weather")))
    yield AnswerPiece(parts=(Part(kind="arguments", text='{"town":'),))
    yield AnswerPiece(parts=(Part(kind="arguments", text='"Lund"}'), Part(kind="call", text="clock")))
    yield AnswerPiece(parts=(Part(kind="arguments", text="{}"),))
    yield Ended(reason="calls", num_tokens=20, num_thought_tokens=3)


def nothing(job: Job) -> Iterable[JobEvent]:
    yield Ended(reason="stop", num_tokens=1)


def cut_call(job: Job) -> Iterable[JobEvent]:
    yield AnswerPiece(parts=(Part(kind="call", text="weather"), Part(kind="arguments", text='{"to')))
    yield Ended(reason="length", num_tokens=4)


def cut_thought(job: Job) -> Iterable[JobEvent]:
    yield AnswerPiece(parts=(Part(kind="thought", text="Hm"),))
    yield Ended(reason="length", num_tokens=1, num_thought_tokens=1)


SCRIPTS = {
    "text": says("It", " rains", "."),
    "thought": says("It", " rains.", thought=("Look", " out")),
    "cut": says("It", " rains", reason="length"),
    "calls": calls(("weather", '{"town":"Ghent"}'), ("clock", "{}")),
    "everything": everything,
    "nothing": nothing,
    "cut call": cut_call,
    "cut thought": cut_thought,
}


def _plain(value: Any, name: str) -> Any:
    """Without what differs from request to request: its name and its seconds."""
    if isinstance(value, dict):
        return {key: _plain(one, name) for key, one in value.items() if not key.endswith("_at")}
    if isinstance(value, list):
        return [_plain(one, name) for one in value]
    return value.replace(name, "") if isinstance(value, str) else value


@pytest.mark.parametrize("name", SCRIPTS)
def test_whole_answers_and_streams_hold_before_both_judges_and_say_the_same(name: str) -> None:
    whole = ask(SCRIPTS[name], tools=TOOLS, metadata={"a": "b"})
    streamed = ask(SCRIPTS[name], tools=TOOLS, metadata={"a": "b"}, stream=True)
    judged_response(whole.json)
    judged_events(streamed.events)
    last = streamed.events[-2][1]["response"]
    assert _plain(last, last["id"].removeprefix("resp_")) == _plain(whole.json, whole.json["id"].removeprefix("resp_"))
    cut = name.startswith("cut")
    assert whole.json["status"] == ("incomplete" if cut else "completed")
    assert whole.json["incomplete_details"] == ({"reason": "max_output_tokens"} if cut else None)


def test_everything_is_told_in_items() -> None:
    answer = judged_response(ask(everything, tools=TOOLS).json)
    thought, text, weather, clock = answer.output
    assert thought.type == "reasoning"
    assert thought.content is not None
    assert [part.text for part in thought.content] == ["Why?"]
    assert text.type == "message"
    assert answer.output_text == "I look."
    assert weather.type == clock.type == "function_call"
    assert (weather.name, weather.arguments, clock.arguments) == ("weather", '{"town":"Lund"}', "{}")
    assert weather.call_id != clock.call_id
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.input_tokens_details.cached_tokens) == (7, 2)
    assert (answer.usage.output_tokens, answer.usage.total_tokens) == (20, 27)
    assert answer.usage.output_tokens_details.reasoning_tokens == 3


def test_an_answer_of_no_words_is_an_empty_message_and_a_cut_thought_is_none() -> None:
    empty = judged_response(ask(nothing).json)
    assert [item.type for item in empty.output] == ["message"]
    assert empty.output_text == ""
    assert [item.type for item in judged_response(ask(cut_thought).json).output] == ["reasoning"]


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_are_those_of_the_text(stream: bool) -> None:
    reply = ask(
        says("It", " rains", thought=("Look",)),
        stream=stream,
        top_logprobs=2,
        include=["message.output_text.logprobs"],
    )
    answer = judged_events(reply.events) if stream else judged_response(reply.json)
    text = answer.output[1].content[0]  # type: ignore[union-attr, index]
    assert [token.token for token in text.logprobs] == ["It", " rains"]  # type: ignore[union-attr]
    assert [len(token.top_logprobs) for token in text.logprobs] == [2, 2]  # type: ignore[union-attr]
    assert answer.top_logprobs == 2


def test_a_stream_that_breaks_says_what_there_was_and_why() -> None:
    reply = ask(fails(Failed(fault="model", message="Broken.", hint="Ask again."), after=("It",)), stream=True)
    last = judged_events(reply.events)
    assert last.status == "failed"
    assert last.error is not None
    assert last.error.message == "Broken. Ask again."


def test_an_answer_names_the_model_that_gave_it() -> None:
    engine = FakeEngine()
    context = Context(name="auto", model=engine.model, cache_key="", request_id="x" * 128, created=1)
    ask = INTERFACE.read(INTERFACE.request(model="auto", input="Hi."), context)
    writer = INTERFACE.stream(ask)
    writer.event(0, Accepted(num_prompt_tokens=3, answered_by=engine.model))
    writer.event(0, AnswerPiece(parts=(Part(kind="call", text="f"), Part(kind="arguments", text="{}"))))
    answer = writer.response()
    assert answer["model"] == "fake"
    assert len(answer["output"][0]["call_id"]) <= 64, "it must come back in a function_call_output"
