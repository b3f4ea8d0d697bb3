"""What ``/v1/chat/completions`` and ``/v1/completions`` have in common: a head, choices side by side, usage.

In: what was asked, and what its jobs came to. Out: the fields around the choices of a whole answer; or the events of a
stream, each with a piece of one choice, usage where it was asked for, and the end mark.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import orjson

from spiritsafe.core.serving import Accepted, AnswerPiece, Ended, EndReason, Token
from spiritsafe.serve.answers.openai_forms import UsageBody, error_body, token_usage
from spiritsafe.serve.answers.sse import DONE, data_event
from spiritsafe.serve.interface import Ask, answering_name, fingerprint, totals
from spiritsafe.serve.refusals import Refusal


def head_fields(ask: Ask, accepted: Accepted, prefix: str, kind: str) -> dict[str, Any]:
    """What an answer says of itself; its id begins with ``prefix``."""
    return {
        "id": f"{prefix}-{ask.context.request_id.removeprefix('req_')}",
        "object": kind,
        "created": ask.context.created,
        "model": answering_name(ask.context, accepted),
        "system_fingerprint": fingerprint(ask.context, accepted),
    }


def usage_of(ask: Ask, ends: Sequence[tuple[Accepted, Ended]]) -> UsageBody:
    """What all its jobs used."""
    return token_usage(totals(ask.prompt_of, ends))


class ChunkWriter(ABC):
    """Writes an answer in events; what stands in every one of them is written once."""

    prefix: ClassVar[str]
    kind: ClassVar[str]
    reasons: ClassVar[Mapping[EndReason, str]]
    first: ClassVar[bytes] = b""  # what a choice begins with, if anything: the bytes of a field, as all pieces are
    last: ClassVar[bytes]

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._accepted: dict[int, Accepted] = {}
        self._ends: dict[int, tuple[Accepted, Ended]] = {}
        self._held: list[list[Token]] = [[] for _ in ask.jobs]  # not told yet
        self._tells_tokens = ask.jobs[0].top_logprobs is not None
        options = ask.body.stream_options
        self._usage = options is not None and options.include_usage
        self._head = b""
        self._tail = b'}],"usage":null}\n\n' if self._usage else b"}]}\n\n"

    @abstractmethod
    def pieces(self, index: int, piece: AnswerPiece) -> Iterable[bytes]:
        """What a piece of an answer adds to its choice, an event each."""

    @abstractmethod
    def logprobs(self, index: int, tokens: Sequence[Token]) -> Mapping[str, Any]:
        """What is told of more tokens."""

    def event(self, index: int, event: Accepted | AnswerPiece | Ended) -> bytes:
        """The chunks of a job's event."""
        if isinstance(event, AnswerPiece):
            self._held[index].extend(event.tokens)
            return b"".join(self._chunk(index, piece) for piece in self.pieces(index, event))
        if isinstance(event, Accepted):
            self._accepted[index] = event
            if not self._head:
                head = head_fields(self._ask, event, self.prefix, self.kind)
                self._head = b"data: " + orjson.dumps({**head, "choices": []})[:-2]
            return self._chunk(index, self.first) if self.first else b""
        self._ends[index] = (self._accepted[index], event)
        return self._chunk(index, self.last, self.reasons[event.reason])

    def closing(self) -> bytes:
        """Usage, where it was asked for, and the end mark."""
        if not self._usage:
            return DONE
        usage = usage_of(self._ask, [self._ends[index] for index in range(len(self._ends))])
        return self._head + b'],"usage":' + orjson.dumps(usage.model_dump(mode="json")) + b"}\n\n" + DONE

    def failure(self, refusal: Refusal) -> bytes:
        """An error, which clients raise; no end mark follows it."""
        return data_event(error_body(refusal))

    def _chunk(self, index: int, piece: bytes, reason: str | None = None) -> bytes:
        logprobs = b"null"
        if self._tells_tokens and self._held[index]:
            logprobs = orjson.dumps(self.logprobs(index, self._held[index]))
            self._held[index].clear()
        return b'%b{"index":%d,%b,"logprobs":%b,"finish_reason":%b%b' % (
            self._head, index, piece, logprobs, orjson.dumps(reason), self._tail,
        )  # fmt: skip
