from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, get_type_hints

import pytest
from openai.types import Completion
from openai.types.completion_create_params import CompletionCreateParamsBase
from openai_answers import strictly
from served_app import Reply, serving
from served_engine import FakeEngine, says

from spiritsafe.core.serving import AnswerPiece, Ended, Form, Job, JobEvent, LikelyToken, Part, Token
from spiritsafe.serve.api.completions import CompletionRequest

PATH = "/v1/completions"


def ask(engine: FakeEngine, **fields: Any) -> Reply:
    async def scenario() -> Reply:
        async with serving(engine) as server:
            return await server.post(PATH, {"model": "fake", "prompt": "Once", **fields})

    return asyncio.run(scenario())


def checked(body: dict[str, Any]) -> Completion:
    """The types know no first token of a prompt, whose log-probability is null, and no chunk before the last."""
    choices = [
        {**one, "finish_reason": one["finish_reason"] or "stop", "logprobs": _without_first(one["logprobs"])}
        for one in body["choices"]
    ]
    return strictly(Completion, body | {"choices": choices})


def _without_first(logprobs: dict[str, Any] | None) -> dict[str, Any] | None:
    if logprobs is None or logprobs["token_logprobs"][0] is not None:
        return logprobs
    return {name: values[1:] for name, values in logprobs.items()}


def spelled(text: str, raw: bytes, logprob: float | None) -> Token:
    drawn = LikelyToken(id=1, text=text, bytes=tuple(raw), logprob=logprob)
    other = LikelyToken(id=2, text="?", bytes=(63,), logprob=-2.0)
    twin = LikelyToken(id=3, text="?", bytes=(63,), logprob=-3.0)
    return Token(drawn=drawn, top=(other, twin) if logprob is not None else ())


def scored(job: Job) -> Iterable[JobEvent]:
    """A prompt of three tokens, two of which share a character, and one token more."""
    euro = "€".encode()
    yield AnswerPiece(
        parts=(Part(kind="text", text="a€"),),
        num_tokens=0,
        tokens=(spelled("a", b"a", None), spelled("�", euro[:1], -0.5), spelled("�", euro[1:], -0.1)),
    )
    if job.max_tokens != 0:
        yield AnswerPiece(parts=(Part(kind="text", text="b"),), tokens=(spelled("b", b"b", -1.0),))
    yield Ended(reason="length", num_tokens=0 if job.max_tokens == 0 else 1)


def test_a_prompt_is_scored() -> None:
    engine = FakeEngine(scored)
    reply = ask(engine, echo=True, logprobs=2, max_tokens=0)
    assert (engine.jobs[0].max_tokens, engine.jobs[0].echo, engine.jobs[0].top_logprobs) == (0, True, 2)
    answer = checked(reply.json)
    assert answer.usage is not None
    assert (answer.choices[0].text, answer.usage.completion_tokens) == ("a€", 0)
    assert reply.json["choices"][0]["logprobs"] == {
        "tokens": ["a", "�", "�"],
        "token_logprobs": [None, -0.5, -0.1],
        "top_logprobs": [None, {"?": -2.0, "�": -0.5}, {"?": -2.0, "�": -0.1}],
        "text_offset": [0, 1, 1],
    }


def test_a_stream_says_the_same_as_a_whole_answer() -> None:
    fields: dict[str, Any] = {"prompt": ["x", "y"], "n": 2, "echo": True, "logprobs": 2}
    whole = ask(FakeEngine(scored), **fields)
    streamed = ask(FakeEngine(scored), **fields, stream=True, stream_options={"include_usage": True})
    *events, (_, usage), (_, done) = streamed.events
    assert done == "[DONE]"
    assert (usage["choices"], usage["usage"]) == ([], whole.json["usage"])
    assert whole.json["usage"]["prompt_tokens"] == 14  # two prompts, each drawn from twice
    for choice in whole.json["choices"]:
        own = [one for _, chunk in events for one in chunk["choices"] if one["index"] == choice["index"]]
        assert "".join(one["text"] for one in own) == choice["text"]
        for name, values in choice["logprobs"].items():
            assert [value for one in own if one["logprobs"] for value in one["logprobs"][name]] == values
        assert [one["finish_reason"] for one in own] == [None] * (len(own) - 1) + [choice["finish_reason"]]
    for _, chunk in events:
        checked(chunk)


@pytest.mark.parametrize(
    ("prompt", "fields"),
    [
        ("a", [{"text": "a"}]),
        (["a", "b"], [{"text": "a"}, {"text": "b"}]),
        ([5, 6], [{"token_ids": (5, 6)}]),
        ([[5], [6, 7]], [{"token_ids": (5,)}, {"token_ids": (6, 7)}]),
    ],
)
def test_prompts_are_text_or_tokens(prompt: Any, fields: list[dict[str, Any]]) -> None:
    engine = FakeEngine()
    reply = ask(engine, prompt=prompt, seed=4, structured_outputs={"regex": "a"})
    assert [choice.index for choice in checked(reply.json).choices] == list(range(len(fields)))
    shared = {"seed": 4, "max_tokens": 16, "form": Form(kind="regex", source="a")}
    assert sorted(engine.jobs, key=repr) == sorted((Job(**one, **shared) for one in fields), key=repr)


def test_a_prompt_in_company_gets_the_answer_that_it_gets_alone() -> None:
    alone, company = FakeEngine(), FakeEngine()
    ask(alone, prompt="b", seed=9, n=2)
    ask(company, prompt=["a", "b"], seed=9, n=2)
    assert [job.seed for job in company.jobs if job.text == "b"] == [job.seed for job in alone.jobs]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"best_of": 2}, "best_of"),
        ({"logprobs": True}, "logprobs"),
        ({"n": 128, "prompt": ["a", "b"]}, "n"),
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt[0]"),
        ({"prompt": [1000]}, "prompt"),
        ({"prompt": [-1]}, "prompt[0]"),
        ({"suffix": "b"}, "suffix"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    engine = FakeEngine(says("x"))
    reply = ask(engine, **fields)
    assert (reply.status, reply.error["param"]) == (400, param)
    assert engine.jobs == []


def test_every_field_of_the_client_is_known_here() -> None:
    named = set(get_type_hints(CompletionCreateParamsBase)) | {"stream"}
    assert named <= {*CompletionRequest.model_fields, *CompletionRequest.refused}
