"""A job under way: drawn tokens in, what its asker is told out.

In: a prepared job and what steps of the session drew for it. Out: events, as the JSON of the records of
:mod:`spiritsafe.core.serving`. They are made as plain values: there are thousands of them a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, final

from spiritsafe.core.serving import Part
from spiritsafe.models.chat.calls.marks import MarkedText
from spiritsafe.models.chat.calls.reader import AnswerReader
from spiritsafe.models.running.engine.request import Drawn
from spiritsafe.models.running.serving.answer_text import AnswerText
from spiritsafe.models.running.serving.preparation import PreparedJob
from spiritsafe.models.running.serving.token_text import TokenText

Event = tuple[Literal["accepted", "piece", "ended", "failed", "count"], dict[str, Any]]
"""Name and JSON of what is told."""

_LEAST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON does not have."""
_ECHO_TOKENS = 256
"""Scored tokens of a prompt that are told at once."""


def _joined(parts: Sequence[Part]) -> list[dict[str, str]]:
    """Parts with neighbours of a kind as one; each call begins anew."""
    found: list[dict[str, str]] = []
    for part in parts:
        if found and found[-1]["kind"] == part.kind and part.kind != "call":
            found[-1]["text"] += part.text
        else:
            found.append({"kind": part.kind, "text": part.text})
    return found


@final
class TokenTeller:
    """Tokens with their log-probabilities, as they are told."""

    def __init__(self, tokens: TokenText) -> None:
        self._tokens = tokens
        self._known: dict[int, dict[str, Any]] = {}

    def _candidate(self, token_id: int, logprob: float | None) -> dict[str, Any]:
        known = self._known.get(token_id)
        if known is None:
            spelled = self._tokens.bytes_of(token_id)
            known = {"id": token_id, "text": spelled.decode("utf-8", "replace"), "bytes": list(spelled)}
            self._known[token_id] = known
        return {**known, "logprob": None if logprob is None else max(logprob, _LEAST_LOGPROB)}

    def tell(self, token_id: int, logprob: float | None, top: Sequence[tuple[int, float]]) -> dict[str, Any]:
        """One token and the likeliest at its place."""
        return {"drawn": self._candidate(token_id, logprob), "top": [self._candidate(*one) for one in top]}


@final
class RunningJob:
    """One answer.

    Args:
        prepared: What is drawn.
        tokens: What they spell.
        teller: Tells their log-probabilities.

    Attributes:
        scored: Log-probabilities of the prompt, part by part, where they are to be told.
        is_over: Its last event was told.
    """

    def __init__(self, prepared: PreparedJob, tokens: TokenText, teller: TokenTeller) -> None:
        job, asked, chat = prepared.job, prepared.asked, prepared.chat
        self._prepared = prepared
        self._chat = chat
        self._tokens = tokens
        self._teller = teller
        is_chat = bool(job.messages)
        self._parts = AnswerReader(asked.spelling, thinks=is_chat and chat.thoughts.thinks and not job.prefix)
        growing = chat.growing_text(tokens.growing(), prefix=job.prefix if is_chat else None)
        self._text = AnswerText(MarkedText(growing, asked.marks) if asked.marks else growing, job.stop)
        self._tells_tokens = job.top_logprobs is not None
        self._ends = frozenset[int]() if prepared.request is None else prepared.request.end_ids
        self._num_tokens = self._num_untold = self._num_thought = 0
        self.scored: list[Drawn] = []
        self._is_accepted = self.is_over = False

    def _begin(self, num_cached: int) -> Iterator[Event]:
        """The prompt is in."""
        self._is_accepted = True
        yield "accepted", {"num_prompt_tokens": len(self._prepared.prompt_ids), "num_cached": num_cached}
        if self._prepared.job.echo:
            yield from self._echo()

    def _echo(self) -> Iterator[Event]:
        """The prompt's own text, and its tokens where they were scored."""
        job, ids = self._prepared.job, self._prepared.prompt_ids
        text = job.text if job.text is not None else self._chat.spell(ids)
        yield "piece", {"parts": [{"kind": "text", "text": text}], "num_tokens": 0}
        if not self._tells_tokens:
            return
        logprobs: list[float | None] = [None, *(one for part in self.scored for one in part.logprobs)]
        top = [(), *(one for part in self.scored for one in part.top or [()] * len(part.logprobs))]
        told = list(zip(ids, logprobs, top, strict=True))
        for start in range(0, len(told), _ECHO_TOKENS):
            part = told[start : start + _ECHO_TOKENS]
            yield "piece", {"num_tokens": 0, "tokens": [self._teller.tell(*one) for one in part]}

    def take(self, drawn: Drawn) -> Iterator[Event]:
        """What a step drew."""
        if drawn.end == "error":
            self.is_over = True
            yield "failed", {"fault": "model", "message": drawn.message or "The model gave no answer."}
            return
        if not self._is_accepted:
            yield from self._begin(drawn.num_cached)
        parts: list[Part] = []
        told: list[dict[str, Any]] = []
        for place, token in enumerate(drawn.token_ids):
            self._num_tokens += 1
            self._num_untold += 1
            if token in self._ends:
                break
            was_thought = self._parts.in_thought
            parts += self._read(self._text.take(token))
            self._num_thought += was_thought or self._parts.in_thought
            if self._tells_tokens:
                top = drawn.top[place] if drawn.top else ()
                told.append(self._teller.tell(token, drawn.logprobs[place], top))
            if self._text.stopped_by is not None:
                break
        ends = drawn.end is not None or self._text.stopped_by is not None
        if ends:
            parts += [*self._read(self._text.finish()), *self._parts.finish()]
        if parts or told:
            yield "piece", self._piece(parts, told)
        if ends:
            yield from self._end(drawn.end or "stop")

    def close(self) -> Iterator[Event]:
        """Nothing is drawn."""
        yield from self._begin(0)
        yield from self._end("length")

    def _read(self, text: str) -> tuple[Part, ...]:
        return self._parts.feed(text) if text else ()

    def _piece(self, parts: Sequence[Part], told: list[dict[str, Any]]) -> dict[str, Any]:
        piece: dict[str, Any] = {"parts": _joined(parts), "num_tokens": self._num_untold}
        self._num_untold = 0
        return {**piece, "tokens": told} if told else piece

    def _end(self, reason: str) -> Iterator[Event]:
        self.is_over = True
        mask = self._prepared.mask
        if mask is not None and mask.problem:
            yield "failed", {"fault": "asker", "message": mask.problem, "param": "form", "code": "unsupported"}
            return
        stop = self._text.stopped_by
        if stop is not None:
            reason = "stop"
        if reason == "stop" and self._parts.num_calls:
            reason = "calls"
        ended = {"reason": reason, "num_tokens": self._num_tokens, "num_thought_tokens": self._num_thought}
        yield "ended", ended if stop is None else {**ended, "stop": stop}
