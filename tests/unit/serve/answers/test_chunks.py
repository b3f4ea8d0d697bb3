from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from served_engine import served_model

from spiritsafe.core.serving import Accepted, AnswerPiece, Ended, Job, LikelyToken, Part, Token
from spiritsafe.serve.answers.chunks import ChunkWriter
from spiritsafe.serve.api.chat import ChatRequest
from spiritsafe.serve.interface import Ask, Context
from spiritsafe.serve.refusals import Refusal

TOKEN = Token(drawn=LikelyToken(id=1, text="a", bytes=(97,), logprob=-1.0))


class Counting(ChunkWriter):
    """Says how long each part is."""

    prefix, kind, reasons, last = "c", "count", {"stop": "over", "length": "cut", "calls": "over"}, b'"size":0'

    def pieces(self, index: int, piece: AnswerPiece) -> Iterable[bytes]:
        return [b'"size":%d' % len(part.text) for part in piece.parts]

    def logprobs(self, index: int, tokens: Sequence[Token]) -> Mapping[str, Any]:
        return {"count": len(tokens)}


def writer(*, logprobs: int | None = None, usage: bool = False) -> Counting:
    body = ChatRequest.model_validate(
        {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream_options": {"include_usage": usage}}
    )
    context = Context(name="m", model=served_model("m"), cache_key="k", request_id="req_7", created=9)
    job = Job(text="x", seed=0, top_logprobs=logprobs)
    return Counting(Ask(jobs=(job, job), body=body, context=context, prompt_of=(0, 0)))


def read(framed: bytes) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in framed.decode().split("\n\n") if line]


def test_choices_stand_side_by_side_in_one_answer() -> None:
    one = writer()
    assert one.event(1, Accepted(num_prompt_tokens=3)) == b"", "nothing to begin with"
    assert one.event(0, Accepted(num_prompt_tokens=3)) == b""
    words = (Part(kind="text", text="ab"), Part(kind="text", text="c"))
    chunks = read(one.event(1, AnswerPiece(parts=words, num_tokens=2)))
    chunks += read(one.event(0, Ended(reason="length", num_tokens=2)))
    assert [(c["id"], c["object"], c["created"], c["model"]) for c in chunks] == [("c-7", "count", 9, "m")] * 3
    assert [choice for chunk in chunks for choice in chunk["choices"]] == [
        {"index": 1, "size": 2, "logprobs": None, "finish_reason": None},
        {"index": 1, "size": 1, "logprobs": None, "finish_reason": None},
        {"index": 0, "size": 0, "logprobs": None, "finish_reason": "cut"},
    ]
    assert "usage" not in chunks[0]
    assert one.closing() == b"data: [DONE]\n\n"


def test_tokens_are_told_once_at_the_latest_with_the_end() -> None:
    one = writer(logprobs=0)
    one.event(0, Accepted(num_prompt_tokens=3))
    assert one.event(0, AnswerPiece(num_tokens=2, tokens=(TOKEN, TOKEN))) == b""
    (told,) = read(one.event(0, AnswerPiece(parts=(Part(kind="text", text="a"),), num_tokens=1, tokens=(TOKEN,))))
    one.event(0, AnswerPiece(num_tokens=1, tokens=(TOKEN,)))
    (last,) = read(one.event(0, Ended(reason="stop", num_tokens=4)))
    assert [chunk["choices"][0]["logprobs"] for chunk in (told, last)] == [{"count": 3}, {"count": 1}]


def test_usage_comes_last_and_counts_the_prompt_once() -> None:
    one = writer(usage=True)
    for index in (0, 1):
        one.event(index, Accepted(num_prompt_tokens=3))
        (ended,) = read(one.event(index, Ended(reason="stop", num_tokens=5)))
        assert ended["usage"] is None
    usage, done = one.closing().split(b"\n\n", 1)
    (told,) = read(usage)
    assert told["choices"] == []
    assert (told["usage"]["prompt_tokens"], told["usage"]["completion_tokens"]) == (3, 10)
    assert done == b"data: [DONE]\n\n"


def test_an_error_ends_the_stream() -> None:
    (told,) = read(writer(usage=True).failure(Refusal("No.", hint="Do this.", status=500)))
    assert told["error"]["type"] == "server_error"
