"""Answers of ``POST /v1/responses``, whole and in events.

In: what was asked, and the events of its one job. Out: the response object, and on the way to it the events of a
stream, each with its ``sequence_number``. Thoughts are items of their own, in full; a summary is made of none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

from spiritsafe.core.serving import Accepted, AnswerPiece, Ended, LikelyToken, Part, Token
from spiritsafe.serve.answers.running import TextTokens
from spiritsafe.serve.answers.sse import DONE, named_event
from spiritsafe.serve.interface import Context, JobAnswer, answering_name, id_stem
from spiritsafe.serve.refusals import Refusal

_ITEM_PREFIX = {"thought": "rs", "text": "msg", "call": "fc"}


def logprobs_of(tokens: Sequence[Token]) -> list[dict[str, Any]]:
    """Log-probabilities as the interface writes them."""
    return [_candidate(token.drawn) | {"top_logprobs": [_candidate(each) for each in token.top]} for token in tokens]


def _candidate(candidate: LikelyToken) -> dict[str, Any]:
    return {"token": candidate.text, "logprob": candidate.logprob, "bytes": list(candidate.bytes)}


@final
class ResponseWriter:
    """The events of one answer; :meth:`response` is what has come together so far.

    Args:
        fixed: What a response says that does not depend on the answer.
    """

    def __init__(self, context: Context, fixed: Mapping[str, Any]) -> None:
        self._context = context
        self._name = id_stem(context)
        self._fixed = fixed
        self._num_events = 0
        self._items: list[dict[str, Any]] = []
        self._kind: str | None = None
        self._fragments: list[str] = []
        self._tokens = TextTokens()
        self._begin = self._num_told = 0  # which of them stand in the open item, and up to where they were told
        self._accepted = Accepted(num_prompt_tokens=0)
        self._changes: dict[str, Any] = {"status": "in_progress"}

    def response(self) -> dict[str, Any]:
        """The response object."""
        return {
            "id": f"resp_{self._name}",
            "object": "response",
            "created_at": self._context.created,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "usage": None,
            **self._fixed,
            "model": answering_name(self._context, self._accepted),
            "output": self._items,
            **self._changes,
        }

    def add(self, answer: JobAnswer) -> None:
        """All of an answer at once."""
        self.event(0, answer.accepted)
        tokens = answer.text_tokens
        for part in answer.parts:
            self.event(0, AnswerPiece(parts=(part,), tokens=tokens if part.kind == "text" else ()))
            tokens = () if part.kind == "text" else tokens
        self.event(0, answer.ended)

    def event(self, index: int, event: Accepted | AnswerPiece | Ended) -> bytes:
        """What an event of the job comes to."""
        match event:
            case Accepted():
                self._accepted = event
                return self._whole("response.created") + self._whole("response.in_progress")
            case AnswerPiece():
                self._tokens.add(event)
                return b"".join(self._part(part) for part in event.parts)
            case Ended():
                return self._end(event)

    def closing(self) -> bytes:
        """The end of the stream, which Open Responses demands."""
        return DONE

    def failure(self, refusal: Refusal) -> bytes:
        """An answer that breaks off: what there is of it, and why."""
        self._changes = {
            "status": "failed",
            "error": {"code": "server_error", "message": refusal.diagnostics()},
        }
        return self._whole("response.failed") + DONE

    def _emit(self, kind: str, **fields: Any) -> bytes:
        framed = named_event(kind, {"type": kind, "sequence_number": self._num_events, **fields})
        self._num_events += 1
        return framed

    def _whole(self, kind: str) -> bytes:
        return self._emit(kind, response=self.response())

    def _at(self) -> dict[str, Any]:
        return {"item_id": self._items[-1]["id"], "output_index": len(self._items) - 1}

    def _part(self, part: Part) -> bytes:
        if part.kind == "arguments":
            self._fragments.append(part.text)
            return self._emit("response.function_call_arguments.delta", **self._at(), delta=part.text)
        opened = b""
        if part.kind == "call" or part.kind != self._kind:
            opened = self._close("completed") + self._open(part)
        if part.kind == "call":
            return opened
        self._fragments.append(part.text)
        if part.kind == "thought":
            return opened + self._emit("response.reasoning_text.delta", **self._at(), content_index=0, delta=part.text)
        told = logprobs_of(self._tokens.found[self._num_told :])
        self._num_told += len(told)
        return opened + self._emit(
            "response.output_text.delta", **self._at(), content_index=0, delta=part.text, logprobs=told
        )

    def _open(self, part: Part) -> bytes:
        self._kind = part.kind
        self._fragments, self._begin = [], self._num_told
        name = f"{self._name}_{len(self._items)}"
        item: dict[str, Any] = {"id": f"{_ITEM_PREFIX[part.kind]}_{name}", "status": "in_progress"}
        if part.kind == "call":
            item |= {"type": "function_call", "call_id": f"call_{name}", "name": part.text, "arguments": ""}
        elif part.kind == "thought":
            item |= {"type": "reasoning", "summary": [], "content": []}
        else:
            item |= {"type": "message", "role": "assistant", "content": []}
        self._items.append(item)
        added = self._emit("response.output_item.added", output_index=len(self._items) - 1, item=item)
        if part.kind == "call":
            return added
        return added + self._emit("response.content_part.added", **self._at(), content_index=0, part=self._content())

    def _content(self) -> dict[str, Any]:
        text = "".join(self._fragments)
        if self._kind == "thought":
            return {"type": "reasoning_text", "text": text}
        return {
            "type": "output_text",
            "text": text,
            "annotations": [],
            "logprobs": logprobs_of(self._tokens.found[self._begin : self._num_told]),
        }

    def _close(self, status: str) -> bytes:
        if self._kind is None:
            return b""
        item = self._items[-1]
        item["status"] = status
        if self._kind == "call":
            item["arguments"] = "".join(self._fragments)
            done = self._emit("response.function_call_arguments.done", **self._at(), arguments=item["arguments"])
        else:
            content = self._content()
            item["content"] = [content]
            at = {**self._at(), "content_index": 0}
            if self._kind == "thought":
                done = self._emit("response.reasoning_text.done", **at, text=content["text"])
            else:
                done = self._emit("response.output_text.done", **at, text=content["text"], logprobs=content["logprobs"])
            done += self._emit("response.content_part.done", **at, part=content)
        self._kind = None
        return done + self._emit("response.output_item.done", output_index=len(self._items) - 1, item=item)

    def _end(self, ended: Ended) -> bytes:
        cut = ended.reason == "length"
        answered = any(item["type"] != "reasoning" for item in self._items)
        # clients look for a message: an answer of no words is an empty one, unless a thought was cut off
        last = (
            b""
            if answered or (cut and self._items)
            else self._close("completed") + self._open(Part(kind="text", text=""))
        )
        last += self._close("incomplete" if cut else "completed")
        self._changes = {
            "status": "incomplete" if cut else "completed",
            "completed_at": None if cut else self._context.created,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "usage": self._usage(ended),
        }
        return last + self._whole("response.incomplete" if cut else "response.completed")

    def _usage(self, ended: Ended) -> dict[str, Any]:
        prompt = self._accepted
        return {
            "input_tokens": prompt.num_prompt_tokens,
            "input_tokens_details": {"cached_tokens": prompt.num_cached, "cache_write_tokens": 0},
            "output_tokens": ended.num_tokens,
            "output_tokens_details": {"reasoning_tokens": ended.num_thought_tokens},
            "total_tokens": prompt.num_prompt_tokens + ended.num_tokens,
        }
