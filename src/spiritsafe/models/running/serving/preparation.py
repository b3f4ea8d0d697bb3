"""From what a served model is asked to tokens: everything that can be said of a job before anything is computed.

In: a :class:`~spiritsafe.core.serving.Job`. Out: the prompt's tokens and what the engine's session is asked for; or why
it cannot be had, with the field that is to blame.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

from spiritsafe.core.errors import CompatibilityError, SpiritsafeError
from spiritsafe.core.records import Message
from spiritsafe.core.serving import Failed, Job
from spiritsafe.models.chat.calls.prompt import RefusedJob, ToolPrompt, tool_prompt
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.grammars.masks import GrammarMask, Grammars
from spiritsafe.models.chat.thoughts import is_open
from spiritsafe.models.running.engine.request import SequenceRequest
from spiritsafe.models.running.serving.token_text import TokenText

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
        chat: How its conversation becomes tokens, and tokens an answer.
        asked: How its conversation is asked.
        request: None: nothing is to be drawn.
        mask: That of the request, for who wants to know how it went.
    """

    job: Job
    chat: ChatFormat
    asked: ToolPrompt
    prompt_ids: tuple[int, ...]
    request: SequenceRequest | None
    mask: GrammarMask | None = None


@final
class _TooLong(CompatibilityError):
    """The prompt does not fit the context."""


def max_prompt_bytes(tokens: TokenText, context: int) -> int:
    """A longer text cannot fit a context."""
    return context * _COMPOSED * max(tokens.longest(), 1 if tokens.is_exact else _UNKNOWN_BYTES)


def _num_bytes(texts: Iterable[str]) -> int:
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


def _texts(messages: Sequence[Message]) -> Iterator[str]:
    for message in messages:
        yield message.content
        yield from (call.arguments for call in message.tool_calls)
        yield from message.tools


def _prompt_param(job: Job) -> str:
    return "messages" if job.messages else "text" if job.text is not None else "token_ids"


def _refused(error: SpiritsafeError, job: Job) -> Failed:
    return Failed(
        fault="asker",
        message=error.message,
        hint=error.hint,
        param=error.param if isinstance(error, RefusedJob) else _prompt_param(job),
        code="context_length_exceeded" if isinstance(error, _TooLong) else "invalid",
    )


@final
class JobPreparer:
    """Prepares jobs for one model.

    Args:
        chat: Its chat format.
        tokens: What its tokens spell.
        grammars: Hold answers to forms; None where the tokenizer is of a kind that they do not work with.
        context: Most tokens of prompt and answer together.
    """

    def __init__(self, chat: ChatFormat, tokens: TokenText, grammars: Grammars | None, *, context: int) -> None:
        self._chat = chat
        self._grammars = grammars
        self._context = context
        self._max_bytes = max_prompt_bytes(tokens, context)

    def prepare(self, job: Job) -> PreparedJob | Failed:
        """The job's tokens, and what is to be drawn behind them."""
        try:
            self._check(job)
            chat = self._asked_by(job)
            asked = tool_prompt(chat, job)
            ids = self._fitting(job, chat, asked)
            room = self._context - len(ids)
            if job.max_tokens == 0:
                return PreparedJob(job, chat, asked, ids, None)
            if room < 1:
                raise self._too_long(job, f"{len(ids)} tokens")
            mask = self._mask(job, chat, asked)
            limit = room if job.max_tokens is None else min(job.max_tokens, room)
            return PreparedJob(job, chat, asked, ids, self._request(job, ids, limit, mask), mask)
        except SpiritsafeError as error:
            return _refused(error, job)

    def prompt_ids(self, job: Job) -> tuple[int, ...] | Failed:
        """The prompt's tokens."""
        try:
            chat = self._asked_by(job)
            return self._fitting(job, chat, tool_prompt(chat, job))
        except SpiritsafeError as error:
            return _refused(error, job)

    def _asked_by(self, job: Job) -> ChatFormat:
        """The chat format that asks the model to think, or not to, as the job wishes."""
        if job.thinking is None:
            return self._chat
        switched = self._chat.with_thinking(job.thinking)
        if switched is None and job.thinking != self._chat.thoughts.thinks:
            said = "does not know thoughts" if job.thinking else "has no switch that turns its thoughts off"
            raise RefusedJob(
                f"The chat template of this model {said}.",
                hint="Leave it out, or ask another model.",
                param="thinking",
            )
        return switched or self._chat

    def _mask(self, job: Job, chat: ChatFormat, asked: ToolPrompt) -> GrammarMask | None:
        if job.prefix and (job.form is not None or asked.spelling is not None):
            raise RefusedJob(
                "An answer that goes on from a beginning cannot be held to a form, nor call tools.",
                hint="Ask without the beginning, or without form and tools.",
                param="prefix",
            )
        if self._grammars is not None:
            return self._grammars.of(chat).mask(job, asked)
        if job.form is None and asked.spelling is None:
            return None
        raise RefusedJob(
            "The tokenizer of this model is of a kind that no answer can be held to a form with.",
            hint="Ask without a form and without tools, or ask another model.",
            param="messages" if job.form is None else "form",
        )

    def _fitting(self, job: Job, chat: ChatFormat, asked: ToolPrompt) -> tuple[int, ...]:
        """The prompt's tokens, which fit the context."""
        ids = tuple(self._ids(job, chat, asked.messages))
        if not ids:
            raise RefusedJob("The prompt has no tokens.", hint="Write at least one word.", param=_prompt_param(job))
        if len(ids) > self._context:
            raise self._too_long(job, f"{len(ids)} tokens")
        return ids

    def _ids(self, job: Job, chat: ChatFormat, messages: Sequence[Message]) -> Sequence[int]:
        if job.token_ids is not None:
            self._check_known(job.token_ids, "token_ids")
            return job.token_ids
        if job.text is not None:
            size = _num_bytes([job.text])
            if size > self._max_bytes:
                raise self._too_long(job, f"{size} bytes")
            return self._chat.text_ids(job.text)
        if _num_bytes((*_texts(messages), job.prefix)) > self._max_bytes:  # templates may leave some of it out
            size = _num_bytes([chat.render(messages), job.prefix])
            if size > self._max_bytes:
                raise self._too_long(job, f"{size} bytes")
        return chat.going_on_ids(messages, job.prefix)

    def _too_long(self, job: Job, size: str) -> _TooLong:
        return _TooLong(
            f"The prompt has {size}; prompt and answer together may have {self._context} tokens.",
            hint="Shorten the prompt, or use a model with a longer context.",
        )

    def _check_known(self, ids: Sequence[int], param: str) -> None:
        last = self._chat.vocab_size - 1
        strange = next((token for token in ids if not 0 <= token <= last), None)
        if strange is not None:
            raise RefusedJob(f"The model has no token {strange}.", hint=f"Its tokens are 0 to {last}.", param=param)

    def _check(self, job: Job) -> None:
        """Refuse what is wrong beside the prompt."""
        if len(job.stop) > _MOST_STOPS or any(len(text) > _LONGEST_STOP for text in job.stop):
            raise RefusedJob(
                "There are too many stop strings, or one is too long.",
                hint=f"Give at most {_MOST_STOPS}, of {_LONGEST_STOP} characters at most.",
                param="stop",
            )
        if is_open(job.prefix):
            raise RefusedJob(
                "The answer's beginning ends within a thought.",
                hint="End the thought, or leave it out.",
                param="prefix",
            )
        biased = [token for token, _ in job.logit_bias]
        if len(set(biased)) < len(biased):
            raise RefusedJob("A token is biased twice.", hint="Name each token once.", param="logit_bias")
        self._check_known(biased, "logit_bias")

    def _request(self, job: Job, ids: tuple[int, ...], limit: int, mask: GrammarMask | None) -> SequenceRequest:
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
            mask=mask,
            top_logprobs=job.top_logprobs or 0,
            cache_key=job.cache_key,
        )
