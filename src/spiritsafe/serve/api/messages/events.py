"""Answers of ``POST /v1/messages``, whole and in events.

In: what was asked, and what its one job came to. Out: the message, or the events of a stream. A thought is a block of
its own; the block's signature is empty, because nothing here seals thoughts.
"""

from __future__ import annotations

from typing import Any, final

import orjson

from spiritsafe.core.serving import Accepted, AnswerPiece, Ended, Part
from spiritsafe.serve.answers.sse import named_event
from spiritsafe.serve.interface import Ask, JobAnswer, answering_name, id_stem
from spiritsafe.serve.refusals import Refusal

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "calls": "tool_use"}
_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def message(ask: Ask, answer: JobAnswer) -> dict[str, Any]:
    """A whole answer."""
    name = id_stem(ask.context)
    content: list[dict[str, Any]] = []
    for part in answer.parts:
        if part.kind == "text":
            content.append({"type": "text", "text": part.text, "citations": None})
        elif part.kind == "thought":
            content.append({"type": "thinking", "thinking": part.text, "signature": ""})
        elif part.kind == "call":
            content.append({"type": "tool_use", "id": f"toolu_{name}_{len(content)}", "name": part.text, "input": {}})
        else:
            content[-1]["input"] = _input(part.text)
    return {
        **_empty(ask, answer.accepted),
        "content": content,
        **_reason(answer.ended),
        "usage": {**_usage(answer.accepted, answer.ended), "service_tier": "standard"},
    }


def anthropic_error(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """What a refusal is told as; ``param`` is this server's own field."""
    kind = _ERROR_TYPES.get(refusal.status) or ("api_error" if refusal.status >= 500 else "invalid_request_error")
    error: dict[str, Any] = {"type": kind, "message": refusal.diagnostics()}
    if refusal.param is not None:
        error["param"] = refusal.param
    if refusal.param == "thread":  # what Anthropic's runner of tools asks first; told so, it sends whole conversations
        error["details"] = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    return {"type": "error", "error": error, "request_id": request_id}


@final
class MessageWriter:
    """The events of one answer."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._kind: str | None = None
        self._num_blocks = 0
        self._accepted = Accepted(num_prompt_tokens=0)

    def event(self, index: int, event: Accepted | AnswerPiece | Ended) -> bytes:
        """What an event of the job comes to."""
        match event:
            case Accepted():
                self._accepted = event
                started = _emit("message_start", message=_empty(self._ask, event))
                return started + _emit("ping")
            case AnswerPiece():
                return b"".join(self._part(part) for part in event.parts)
            case Ended():
                usage = _usage(self._accepted, event)
                return self._close() + _emit("message_delta", delta=_reason(event), usage=usage) + _emit("message_stop")

    def closing(self) -> bytes:
        """Nothing: ``message_stop`` was the end."""
        return b""

    def failure(self, refusal: Refusal) -> bytes:
        """An answer that breaks off."""
        return named_event("error", anthropic_error(refusal, self._ask.context.request_id))

    def _part(self, part: Part) -> bytes:
        opened = b""
        if part.kind == "call" or (part.kind != "arguments" and part.kind != self._kind):
            opened = self._close() + self._open(part)
        if part.kind == "call":
            return opened
        if part.kind == "arguments":
            return self._delta({"type": "input_json_delta", "partial_json": part.text})
        if part.kind == "thought":
            return opened + self._delta({"type": "thinking_delta", "thinking": part.text})
        return opened + self._delta({"type": "text_delta", "text": part.text})

    def _open(self, part: Part) -> bytes:
        self._kind = part.kind
        index = self._num_blocks
        self._num_blocks += 1
        if part.kind == "call":
            name = f"toolu_{id_stem(self._ask.context)}_{index}"
            block: dict[str, Any] = {"type": "tool_use", "id": name, "name": part.text, "input": {}}
        elif part.kind == "thought":
            block = {"type": "thinking", "thinking": "", "signature": ""}
        else:
            block = {"type": "text", "text": "", "citations": None}
        return _emit("content_block_start", index=index, content_block=block)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _emit("content_block_delta", index=self._num_blocks - 1, delta=delta)

    def _close(self) -> bytes:
        if self._kind is None:
            return b""
        sealed = self._delta({"type": "signature_delta", "signature": ""}) if self._kind == "thought" else b""
        self._kind = None
        return sealed + _emit("content_block_stop", index=self._num_blocks - 1)


def _emit(kind: str, **fields: Any) -> bytes:
    return named_event(kind, {"type": kind, **fields})


def _input(arguments: str) -> Any:
    """The JSON of a call; {} where it was cut off, as clients make nothing of a part of it."""
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {}


def _empty(ask: Ask, accepted: Accepted) -> dict[str, Any]:
    return {
        "id": f"msg_{id_stem(ask.context)}",
        "type": "message",
        "role": "assistant",
        "model": answering_name(ask.context, accepted),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**_usage(accepted, Ended(reason="stop", num_tokens=0)), "service_tier": "standard"},
    }


def _reason(ended: Ended) -> dict[str, Any]:
    reason = "stop_sequence" if ended.stop is not None else _STOP_REASONS[ended.reason]
    return {"stop_reason": reason, "stop_sequence": ended.stop}


def _usage(accepted: Accepted, ended: Ended) -> dict[str, Any]:
    return {
        "input_tokens": accepted.num_prompt_tokens - accepted.num_cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": accepted.num_cached,
        "output_tokens": ended.num_tokens,
        "output_tokens_details": {"thinking_tokens": ended.num_thought_tokens},
    }
