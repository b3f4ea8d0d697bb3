from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.serving import AnswerPiece
from spiritsafe.serve.workers.mailbox import Mailbox, join_pieces

PARTS = st.tuples(st.sampled_from(["thought", "text", "call", "arguments"]), st.text("ab", max_size=2))
TOKEN = {"drawn": {"id": 1, "text": "a", "bytes": [97], "logprob": -1.0}}


def piece(parts: list[tuple[str, str]], **more: Any) -> dict[str, Any]:
    return {"parts": [{"kind": kind, "text": text} for kind, text in parts], **more}


def spelled(parts: list[tuple[str, str]]) -> list[list[str]]:
    """Runs of one kind; each call is one of its own."""
    out: list[list[str]] = []
    for kind, text in parts:
        if out and out[-1][0] == kind != "call":
            out[-1][1] += text
        else:
            out.append([kind, text])
    return out


@given(st.lists(st.lists(PARTS, max_size=3), min_size=1, max_size=200))
def test_joined_pieces_say_the_same(pieces: list[list[tuple[str, str]]]) -> None:
    async def through() -> list[AnswerPiece]:
        mailbox = Mailbox(1)
        for one in pieces:
            mailbox.put("piece", piece(one, tokens=[TOKEN]))
        mailbox.put("ended", {"reason": "stop", "num_tokens": len(pieces)})
        events = [await mailbox.record()]
        while isinstance(events[-1], AnswerPiece):
            events.append(await mailbox.record())
        return [event for event in events if isinstance(event, AnswerPiece)]

    found = asyncio.run(through())
    every = [(part.kind, part.text) for event in found for part in event.parts]
    assert spelled(every) == spelled([part for one in pieces for part in one])
    assert sum(event.num_tokens for event in found) == sum(len(event.tokens) for event in found) == len(pieces)


def test_a_single_piece_is_as_it_came() -> None:
    assert join_pieces([piece([("text", "a")])]) == {**piece([("text", "a")]), "num_tokens": 1, "tokens": []}


def test_what_nobody_reads_is_bounded_by_the_text() -> None:
    async def put() -> Mailbox:
        mailbox = Mailbox(1)
        for _ in range(64 * 100):
            mailbox.put("piece", piece([("text", "a")]))
        return mailbox

    assert len(asyncio.run(put())._waiting) <= 100 + 64


def test_an_event_of_another_kind_is_no_answer() -> None:
    async def read() -> None:
        mailbox = Mailbox(1)
        mailbox.put("count", {"num_tokens": 3})
        await mailbox.record()

    with pytest.raises(IntegrityError, match="count"):
        asyncio.run(read())
