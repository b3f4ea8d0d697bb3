"""One OpenAI-compatible endpoint, asked by many connections at once: order, rate, tries, waits, accounting.

In: prompts and a sampling. Out: Attempts, handed over as they finish. Runs inside an event loop;
:class:`spiritsafe.rollouts.RemoteGenerator` is the synchronous face of it, :mod:`spiritsafe.rollouts.exchange` the
single request. A sample whose tries are used up, or whom another try would not help, becomes an "error" attempt.

Exercised by ``pytest tests/unit/rollouts/test_endpoint.py``.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import orjson

from spiritsafe.core.lengths import estimate_tokens
from spiritsafe.core.records import Attempt, Prompt, Sampling
from spiritsafe.core.seeds import derive_seed
from spiritsafe.rollouts.exchange import Exchange, RemoteConfig, Trouble
from spiritsafe.rollouts.limits import RateLimiter, backoff_s
from spiritsafe.rollouts.reply import ChatReply
from spiritsafe.rollouts.usage import UsageAccount

__all__ = ["ChatEndpoint", "request_seed"]


_ROOM_EVERY_S = 0.005


def request_seed(prompt: Prompt, sample_index: int) -> int:
    """The seed of one sample's request: derived, then cut to 31 bits, because servers refuse wider ones."""
    return derive_seed(prompt.seed, prompt.problem_id, sample_index) % 2**31


def _json(value: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # a number beyond 64 bits
        return json.dumps(value, separators=(",", ":")).encode("ascii")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One sample to draw; ``body_start`` is shared by all samples of a prompt.

    Attributes:
        sampling: As the caller gave it.
        asked: With the prompt's own limit of tokens.
    """

    prompt: Prompt
    sample_index: int
    sampling: Sampling
    asked: Sampling
    body_start: bytes
    prompt_bytes: int


@final
class ChatEndpoint:
    """An endpoint and everything that its connections share.

    Args:
        url: The full URL of the chat completions route.
        model: The endpoint's name of the model.
        model_digest: What attempts name as their model.
        api_key: Sent as a bearer token; never part of any message.
        config: How to speak to it.
        account: Where requests and tokens are counted.
    """

    def __init__(
        self,
        *,
        url: str,
        model: str,
        model_digest: str,
        api_key: str | None,
        config: RemoteConfig,
        account: UsageAccount,
    ) -> None:
        self._model = model
        self._digest = model_digest
        self._config = config
        self._account = account
        self._exchange = Exchange(url=url, model=model, api_key=api_key, config=config)
        self._limiter = RateLimiter(config.requests_per_minute, config.tokens_per_minute)

    async def close(self) -> None:
        """Close all connections."""
        await self._exchange.close()

    async def run(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        emit: Callable[[Attempt], None],
        before: Callable[[str, int], None] | None = None,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        """Draw every sample of every prompt; ``emit`` gets each attempt as it finishes.

        ``before`` is called with problem id and sample index before a sample is first sent; while ``has_room`` says no,
        nothing new is sent.

        Raises:
            EndpointError: The endpoint is unusable; requests under way are dropped.
        """
        jobs = self._jobs(prompts, sampling)
        total = sum(prompt.num_samples for prompt in prompts)

        async def work() -> None:
            for job in jobs:  # one iterator for all workers: each takes the next job when it is free
                while not has_room():
                    await asyncio.sleep(_ROOM_EVERY_S)
                emit(await self._attempt(job, before))

        workers = [asyncio.ensure_future(work()) for _ in range(min(self._config.concurrency, total))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    def _jobs(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[_Job]:
        options: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            # Not every server knows these, so they are sent only when they are to have an effect.
            **({"top_k": sampling.top_k} if sampling.top_k else {}),
            **({"min_p": sampling.min_p} if sampling.min_p else {}),
            **({"stop": list(sampling.stop)} if sampling.stop else {}),
            **({"logprobs": True} if self._config.logprobs else {}),
        }
        for prompt in prompts:
            messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
            limit = prompt.token_limit(sampling)
            asked = sampling if limit == sampling.max_tokens else sampling.model_copy(update={"max_tokens": limit})
            own: dict[str, Any] = {self._config.max_tokens_field: asked.max_tokens}
            if prompt.prefix:
                messages.append({"role": "assistant", "content": prompt.prefix})
                own |= {"continue_final_message": True, "add_generation_prompt": False}
            body = _json({"model": self._model, "messages": messages, **own, **options})
            body_start = body[:-1] + b',"seed":'
            prompt_bytes = sum(len(message["content"].encode("utf-8")) for message in messages)
            for index in range(prompt.first_sample, prompt.first_sample + prompt.num_samples):
                yield _Job(
                    prompt=prompt,
                    sample_index=index,
                    sampling=sampling,
                    asked=asked,
                    body_start=body_start,
                    prompt_bytes=prompt_bytes,
                )

    async def _attempt(self, job: _Job, before: Callable[[str, int], None] | None) -> Attempt:
        """All tries of one sample."""
        body = b"%s%d}" % (job.body_start, request_seed(job.prompt, job.sample_index))
        booked = estimate_tokens(job.prompt_bytes) + job.asked.max_tokens
        for try_index in range(self._config.max_tries):
            await self._limiter.acquire(booked)
            if before is not None and try_index == 0:
                before(job.prompt.problem_id, job.sample_index)
            self._account.num_requests += 1
            self._account.num_retries += try_index > 0
            started = time.perf_counter()
            outcome = await self._exchange.send(body, prompt_bytes=job.prompt_bytes, sampling=job.asked)
            seconds = time.perf_counter() - started
            if isinstance(outcome, ChatReply):
                used = outcome.usage.num_prompt_tokens + outcome.usage.num_tokens
                self._limiter.refund(booked - used)
                self._account.add(outcome.usage)
                self._account.num_unstopped += outcome.went_on
                return self._completed(job, outcome, seconds)
            self._limiter.refund(booked)
            trouble = self._patience(outcome)
            if not trouble.again or try_index + 1 == self._config.max_tries:
                break
            await self._wait(trouble, job, try_index)
        if trouble.unreachable and not self._exchange.was_reached:
            hint = "Check the address, and that the server runs and has loaded its model."
            raise self._exchange.fatal(trouble.reason, hint)
        return self._failed(job, trouble, num_tries=try_index + 1, seconds=seconds)

    def _patience(self, trouble: Trouble) -> Trouble:
        """The same trouble, or the end of our patience when the endpoint asks for too long a wait."""
        if trouble.wait_s is None or trouble.wait_s <= self._config.retry_after_most_s:
            return trouble
        return Trouble(reason=f"{trouble.reason}; it asks for a wait of {trouble.wait_s:.0f} s")

    async def _wait(self, trouble: Trouble, job: _Job, try_index: int) -> None:
        if trouble.wait_s is not None:
            self._limiter.pause(trouble.wait_s)  # the endpoint means all of us, not only this connection
        pause = backoff_s(
            try_index,
            base_s=self._config.backoff_base_s,
            most_s=self._config.backoff_most_s,
            seed_parts=(job.prompt.seed, job.prompt.problem_id, job.sample_index),
        )
        await asyncio.sleep(max(pause, trouble.wait_s or 0.0))

    def _completed(self, job: _Job, reply: ChatReply, seconds: float) -> Attempt:
        return Attempt(
            problem_id=job.prompt.problem_id,
            sample_index=job.sample_index,
            model=self._digest,
            sampling=job.sampling,
            seed=job.prompt.seed,
            text=reply.text,
            finish_reason=reply.finish_reason,
            logprobs=reply.logprobs,
            num_prompt_tokens=reply.usage.num_prompt_tokens,
            num_tokens=reply.usage.num_tokens,
            seconds=seconds,
        )

    def _failed(self, job: _Job, trouble: Trouble, *, num_tries: int, seconds: float) -> Attempt:
        self._account.num_failures += not trouble.refused
        reason = trouble.reason if num_tries == 1 else f"{trouble.reason} (after {num_tries} tries)"
        return Attempt(
            problem_id=job.prompt.problem_id,
            sample_index=job.sample_index,
            model=self._digest,
            sampling=job.sampling,
            seed=job.prompt.seed,
            text="",
            finish_reason="refused" if trouble.refused else "error",
            num_prompt_tokens=estimate_tokens(job.prompt_bytes),
            seconds=seconds,
            error=None if trouble.refused else reason,
        )
