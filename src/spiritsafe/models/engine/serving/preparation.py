"""From what a served model is asked to tokens: everything that can be said of a job before anything is computed.

In: a :class:`~spiritsafe.core.serving.Job`. Out: the prompt's tokens and what the engine's session is asked for; or why
it cannot be had, with the field that is to blame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from spiritsafe.core.errors import SpiritsafeError
from spiritsafe.core.records import Message
from spiritsafe.core.serving import Failed, Job
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.engine.request import SequenceRequest
from spiritsafe.models.engine.serving.token_text import TokenText

_MOST_STOPS = 64
_LONGEST_STOP = 4096
_COMPOSED = 4
"""Bytes that a normaliser makes one of, at most."""
_UNKNOWN_BYTES = 1 << 10
"""For a vocabulary that spells unknown words as one token each: longer ones are not expected."""


@final
@dataclass(frozen=True)
class PreparedJob:
    """A job that can be had.

    Attributes:
        request: None: nothing is to be drawn.
    """

    job: Job
    prompt_ids: tuple[int, ...]
    request: SequenceRequest | None


def refused(message: str, hint: str, param: str, code: str = "invalid") -> Failed:
    """What is told of a job that cannot be had."""
    return Failed(fault="asker", message=message, hint=hint, param=param, code=code)


def max_prompt_bytes(tokens: TokenText, context: int) -> int:
    """A longer text cannot fit a context."""
    return context * _COMPOSED * max(tokens.longest(), 1 if tokens.is_exact else _UNKNOWN_BYTES)


def _num_bytes(messages: tuple[Message, ...]) -> int:
    calls = [call for message in messages for call in message.tool_calls]
    texts = [message.content for message in messages] + [call.arguments for call in calls]
    texts += [tool for message in messages for tool in message.tools]
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


@final
class JobPreparer:
    """Prepares jobs for one model.

    Args:
        chat: Its chat format.
        tokens: What its tokens spell.
        context: Most tokens of prompt and answer together.
    """

    def __init__(self, chat: ChatFormat, tokens: TokenText, *, context: int) -> None:
        self._chat = chat
        self._context = context
        self._max_bytes = max_prompt_bytes(tokens, context)

    def prepare(self, job: Job) -> PreparedJob | Failed:
        """The job's tokens, and what is to be drawn behind them."""
        fault = self._fault(job)
        if fault is not None:
            return fault
        ids = self.prompt_ids(job)
        if isinstance(ids, Failed):
            return ids
        room = self._context - len(ids)
        limit = room if job.max_tokens is None else min(job.max_tokens, room)
        if job.max_tokens == 0:
            return PreparedJob(job, ids, None)
        if room < 1:
            return self._too_long(job, f"{len(ids)} tokens")
        return PreparedJob(job, ids, self._request(job, ids, limit))

    def prompt_ids(self, job: Job) -> tuple[int, ...] | Failed:
        """The prompt's tokens, which fit the context."""
        found = self._ids(job)
        if isinstance(found, Failed):
            return found
        if not found:
            return refused("The prompt has no tokens.", "Write at least one word.", self._prompt_param(job))
        if len(found) > self._context:
            return self._too_long(job, f"{len(found)} tokens")
        return tuple(found)

    def _ids(self, job: Job) -> list[int] | tuple[int, ...] | Failed:
        if job.token_ids is not None:
            return self._unknown(job.token_ids, "token_ids") or job.token_ids
        try:
            if job.text is not None:
                size = len(job.text.encode("utf-8", "surrogatepass"))
                return self._too_long(job, f"{size} bytes") if size > self._max_bytes else self._chat.text_ids(job.text)
            if _num_bytes(job.messages) > self._max_bytes:  # templates may leave some of it out
                size = len(self._chat.render(job.messages).encode("utf-8", "surrogatepass"))
                if size > self._max_bytes:
                    return self._too_long(job, f"{size} bytes")
            return self._chat.prompt_ids(job.messages)
        except SpiritsafeError as error:
            return refused(error.message, error.hint, self._prompt_param(job))

    def _prompt_param(self, job: Job) -> str:
        return "messages" if job.messages else "text" if job.text is not None else "token_ids"

    def _too_long(self, job: Job, size: str) -> Failed:
        return refused(
            f"The prompt has {size}; prompt and answer together may have {self._context} tokens.",
            "Shorten the prompt, or use a model with a longer context.",
            self._prompt_param(job),
            "context_length_exceeded",
        )

    def _unknown(self, ids: tuple[int, ...], param: str) -> Failed | None:
        last = self._chat.vocab_size - 1
        strange = next((token for token in ids if not 0 <= token <= last), None)
        if strange is None:
            return None
        return refused(f"The model has no token {strange}.", f"Its tokens are 0 to {last}.", param)

    def _fault(self, job: Job) -> Failed | None:
        """What is wrong beside the prompt."""
        if len(job.stop) > _MOST_STOPS or any(len(text) > _LONGEST_STOP for text in job.stop):
            return refused(
                "There are too many stop strings, or one is too long.",
                f"Give at most {_MOST_STOPS}, of {_LONGEST_STOP} characters at most.",
                "stop",
            )
        biased = [token for token, _ in job.logit_bias]
        if len(set(biased)) < len(biased):
            return refused("A token is biased twice.", "Name each token once.", "logit_bias")
        return self._unknown(tuple(biased), "logit_bias")

    def _request(self, job: Job, ids: tuple[int, ...], limit: int) -> SequenceRequest:
        ends = frozenset(self._chat.eos_ids)
        never = dict.fromkeys(ends, -math.inf) if job.ignore_end else {}
        return SequenceRequest(
            prompt_ids=ids,
            max_tokens=limit,
            seed=job.seed,
            temperature=job.temperature,
            top_p=job.top_p,
            top_k=job.top_k,
            min_p=job.min_p,
            end_ids=frozenset() if job.ignore_end else ends,
            bias=dict(job.logit_bias) | never,
            presence_penalty=job.presence_penalty,
            frequency_penalty=job.frequency_penalty,
            repetition_penalty=job.repetition_penalty,
            top_logprobs=job.top_logprobs or 0,
            cache_key=job.cache_key,
        )
