from __future__ import annotations

import asyncio
from typing import Any, get_type_hints

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai_answers import strictly
from served_app import TALK, Reply, serving
from served_engine import DIGEST, FakeEngine, calls, fails, says, served_model

from spiritsafe.core.serving import Failed, Form, Job
from spiritsafe.serve.api.chat import ChatRequest

PATH = "/v1/chat/completions"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Of a town.",
        "parameters": {"type": "object", "properties": {"town": {"type": "string", "default": None}}},
    },
}


def ask(engine: FakeEngine, **fields: Any) -> Reply:
    async def scenario() -> Reply:
        async with serving(engine) as server:
            return await server.post(PATH, {"model": "fake", "messages": TALK, **fields})

    return asyncio.run(scenario())


def job_of(**fields: Any) -> Job:
    engine = FakeEngine()
    reply = ask(engine, **fields)
    assert reply.status == 200, reply.raw
    return engine.jobs[0]


def chunks_of(reply: Reply) -> list[ChatCompletionChunk]:
    *events, (name, done) = reply.events
    assert (name, done) == (None, "[DONE]")
    return [strictly(ChatCompletionChunk, data) for _, data in events]


def test_a_whole_answer_is_what_the_types_say() -> None:
    engine = FakeEngine(says("It", " rains", ".", thought=("Look", " out")))
    reply = ask(engine, logprobs=True, top_logprobs=2, seed=5, user="me")
    answer = strictly(ChatCompletion, reply.json)
    (choice,) = answer.choices
    assert choice.message.content == "It rains."
    assert reply.json["choices"][0]["message"]["reasoning_content"] == "Look out"
    assert choice.finish_reason == "stop"
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert [token.token for token in choice.logprobs.content] == ["Look", " out", "It", " rains", "."]
    assert [len(token.top_logprobs) for token in choice.logprobs.content] == [2] * 5
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (7, 6, 13)
    assert answer.usage.completion_tokens_details.reasoning_tokens == 2
    assert answer.system_fingerprint == "fp_" + "ab" * 8
    assert reply.headers["spiritsafe-model-digest"] == DIGEST
    assert reply.headers["spiritsafe-seed"] == "5"
    assert reply.headers["spiritsafe-ignored"] == "user"
    assert engine.jobs[0].top_logprobs == 2


def test_a_stream_says_the_same_as_a_whole_answer() -> None:
    script = says("It", " rains", ".", thought=("Look", " out"), reason="length")
    whole = ask(FakeEngine(script), logprobs=True, top_logprobs=1, n=2)
    streamed = ask(
        FakeEngine(script), logprobs=True, top_logprobs=1, n=2, stream=True, stream_options={"include_usage": True}
    )
    first, *chunks, usage = chunks_of(streamed)
    assert first.choices[0].delta.role == "assistant"
    assert len({chunk.id for chunk in (first, *chunks, usage)}) == 1
    raw = [data for _, data in streamed.events[:-1]]
    assert usage.choices == []
    assert [chunk["usage"] for chunk in raw] == [None] * (len(raw) - 1) + [whole.json["usage"]]
    strictly(ChatCompletion, whole.json)
    for choice in whole.json["choices"]:
        own = [one for chunk in raw for one in chunk["choices"] if one["index"] == choice["index"]]
        assert "".join(one["delta"].get("content") or "" for one in own) == choice["message"]["content"]
        assert "".join(one["delta"].get("reasoning_content", "") for one in own) == "Look out"
        assert [one["finish_reason"] for one in own] == [None] * (len(own) - 1) + ["length"]
        told = [token for one in own if one["logprobs"] for token in one["logprobs"]["content"]]
        assert told == choice["logprobs"]["content"]


@pytest.mark.parametrize("text", ["", "Let me look."])
def test_calls_come_whole_and_in_pieces(text: str) -> None:
    script = calls(("weather", '{"town":"Ghent"}'), ("weather", '{"town":"Lund"}'), text=text)
    tools = {"tools": [WEATHER], "tool_choice": "required"}
    whole = strictly(ChatCompletion, ask(FakeEngine(script), **tools).json).choices[0]
    assert whole.message.content == (text or None)
    assert whole.finish_reason == "tool_calls"
    functions: list[Any] = [call.function for call in whole.message.tool_calls or ()]  # type: ignore[union-attr]
    assert [(one.name, one.arguments) for one in functions] == [
        ("weather", '{"town":"Ghent"}'),
        ("weather", '{"town":"Lund"}'),
    ]
    pieces = [
        call
        for chunk in chunks_of(ask(FakeEngine(script), stream=True, **tools))
        for call in chunk.choices[0].delta.tool_calls or ()
    ]
    for index, function in enumerate(functions):
        own = [piece for piece in pieces if piece.index == index]
        assert own[0].id is not None
        assert all(piece.id is None for piece in own[1:])
        assert "".join(piece.function.arguments or "" for piece in own if piece.function) == function.arguments


def test_every_field_reaches_the_job() -> None:
    job = job_of(
        messages=[
            {"role": "developer", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]},
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "I must look.",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "Rain."},
        ],
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=False,
        max_completion_tokens=9,
        stop="END",
        temperature=0.5,
        top_p=0.9,
        top_k=-1,
        min_p=0.1,
        presence_penalty=1,
        frequency_penalty=-1,
        repetition_penalty=1.5,
        logit_bias={"5": -100, "3": 1.5},
        seed=11,
        ignore_eos=True,
        cache_salt="mine",
    )
    first, _, third, fourth = job.messages
    assert (first.role, first.content) == ("system", "Be\nbrief.")
    assert first.tools == (
        '{"type":"function","function":{"name":"weather","description":"Of a town.","parameters":{"type":"object",'
        '"properties":{"town":{"type":"string","default":null}}}}}',
    )
    assert third.content.startswith("<think>\nI must look.\n</think>")
    assert (third.tool_calls[0].name, third.tool_calls[0].id) == ("weather", "c1")
    assert (fourth.role, fourth.tool_call_id) == ("tool", "c1")
    expected = {
        "tool_choice": "required",
        "tool_name": "weather",
        "parallel_tool_calls": False,
        "max_tokens": 9,
        "stop": ("END",),
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 0,
        "min_p": 0.1,
        "presence_penalty": 1.0,
        "frequency_penalty": -1.0,
        "repetition_penalty": 1.5,
        "logit_bias": ((3, 1.5), (5, -100.0)),
        "seed": 11,
        "ignore_end": True,
        "cache_key": "\nmine",
    }
    assert {name: getattr(job, name) for name in expected} == expected


def test_several_answers_have_seeds_of_their_own_and_the_first_is_the_lone_one() -> None:
    lone, several = FakeEngine(), FakeEngine()
    ask(lone, seed=3)
    ask(several, seed=3, n=3)
    assert len({job.seed for job in several.jobs}) == 3
    assert several.jobs[0] == lone.jobs[0]
    drawn = ask(FakeEngine())
    again = FakeEngine()
    ask(again, seed=int(drawn.headers["spiritsafe-seed"]))
    assert str(again.jobs[0].seed) == drawn.headers["spiritsafe-seed"]


SCHEMA = {"type": "object", "properties": {"a": {"type": "null"}}}


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Form(kind="json")),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
            Form(kind="schema", source='{"type":"object","properties":{"a":{"type":"null"}}}'),
        ),
        ({"structured_outputs": {"regex": "a+"}}, Form(kind="regex", source="a+")),
        ({"structured_outputs": {"choice": ["a b", "c."]}}, Form(kind="regex", source=r"a b|c\.")),
        ({"structured_outputs": {"grammar": 'start: "x"'}}, Form(kind="grammar", source='start: "x"')),
    ],
)
def test_forms(fields: dict[str, Any], form: Form | None) -> None:
    assert job_of(**fields).form == form


IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}


BEGUN: dict[str, Any] = {
    "messages": [*TALK, {"role": "assistant", "content": "The answer is ("}],
    "continue_final_message": True,
}


@pytest.mark.parametrize("more", [{}, {"add_generation_prompt": False}])
def test_the_last_message_is_gone_on_from(more: dict[str, Any]) -> None:
    job = job_of(**BEGUN, **more)
    assert ([message.role for message in job.messages], job.prefix) == (["user"], "The answer is (")


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({}, None),
        ({"reasoning_effort": "none"}, False),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
        ({"chat_template_kwargs": {"enable_thinking": True}}, True),
        ({"chat_template_kwargs": {}}, None),
    ],
)
def test_thoughts_are_switched(fields: dict[str, Any], thinking: bool | None) -> None:
    engine = FakeEngine(model=served_model(switches_thinking=True))
    assert ask(engine, **fields).status == 200
    assert engine.jobs[0].thinking is thinking


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"audio": {"voice": "x", "format": "mp3"}}, "audio"),
        ({"functions": []}, "functions"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [IMAGE]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "zebra", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]}, "messages[0].tool_call_id"),
        ({"modalities": ["audio"]}, "modalities[0]"),
        ({"logit_bias": {"1000": 1}}, "logit_bias"),
        ({"n": "2"}, "n"),
        ({"parallel_tool_calls": True}, "parallel_tool_calls"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"reasoning_effort": "none"}, "reasoning_effort"),
        ({"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": True}}, "reasoning_effort"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "chat_template_kwargs.enable_thinking"),
        ({"chat_template_kwargs": {"enable_thinking": "no"}}, "chat_template_kwargs.enable_thinking"),
        ({"chat_template_kwargs": {"tone": "kind"}}, "chat_template_kwargs.tone"),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"add_generation_prompt": False}, "add_generation_prompt"),
        ({**BEGUN, "add_generation_prompt": True}, "add_generation_prompt"),
        ({**BEGUN, "messages": BEGUN["messages"][1:]}, "messages[0]"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"seed": -1}, "seed"),
        ({"stop": ""}, "stop"),
        ({"store": True}, "store"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"temprature": 1}, "temprature"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER, WEATHER]}, "tools"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"web_search_options": {}}, "web_search_options"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    engine = FakeEngine()
    reply = ask(engine, **fields)
    assert (reply.status, reply.error["param"], reply.error["type"]) == (400, param, "invalid_request_error")
    assert engine.jobs == []
    assert reply.headers["x-request-id"].startswith("req_")


def test_a_model_without_tools_says_so() -> None:
    reply = ask(FakeEngine(model=served_model(shows_tools=False)), tools=[WEATHER])
    assert (reply.status, reply.error["param"]) == (400, "tools")


@pytest.mark.parametrize(
    ("failed", "status", "param"),
    [
        (Failed(fault="asker", message="Too long.", param="max_tokens", code="invalid"), 400, "max_completion_tokens"),
        (Failed(fault="asker", message="No.", param="form", code="unsupported"), 400, "response_format"),
        (Failed(fault="model", message="Broken."), 500, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_a_worker_refuses_is_told_in_the_words_of_the_request(
    failed: Failed, status: int, param: str | None, stream: bool
) -> None:
    reply = ask(FakeEngine(fails(failed)), max_completion_tokens=4, stream=stream)
    assert (reply.status, reply.error["param"], reply.error["code"]) == (status, param, failed.code)
    assert reply.headers["spiritsafe-model-digest"] == DIGEST


def test_a_stream_that_breaks_ends_with_an_error_and_no_end_mark() -> None:
    reply = ask(FakeEngine(fails(Failed(fault="model", message="Broken."), after=("It",))), stream=True)
    assert reply.status == 200
    *chunks, (_, last) = reply.events
    for _, chunk in chunks:
        strictly(ChatCompletionChunk, chunk)
    assert last["error"]["type"] == "server_error"


def test_every_field_of_the_client_is_known_here() -> None:
    named = set(get_type_hints(CompletionCreateParamsBase)) | {"stream"}
    assert named <= {*ChatRequest.model_fields, *ChatRequest.refused}
