"""One OpenAI-compatible endpoint, asked by many connections at once: order, rate, tries, waits, accounting.

In: prompts and a sampling. Out: Attempts, handed over as they finish. Runs inside an event loop;
:class:`spiritsafe.rollouts.RemoteGenerator` is the synchronous face of it,
:mod:`spiritsafe.rollouts.generators.exchange` the single request. A sample whose tries are used up, or whom another try
would not help, becomes an "error" attempt; an endpoint that does not answer at all ends the run. Whatever ends it, no
new request is sent, and what is under way is waited for.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import orjson

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import EndpointError, RecipeError, SpiritsafeError, StoppedError
from spiritsafe.core.records import Attempt, Prompt, Sampling
from spiritsafe.core.seeds import derive_seed
from spiritsafe.core.text.lengths import estimate_tokens
from spiritsafe.core.text.tool_calls import as_openai
from spiritsafe.rollouts.generators.exchange import Exchange, RemoteConfig, Trouble
from spiritsafe.rollouts.generators.patience import Breaker, Waiting
from spiritsafe.rollouts.generators.rate_limits import RateLimiter
from spiritsafe.rollouts.generators.reply import ChatReply
from spiritsafe.rollouts.generators.tries import ask_until_answered
from spiritsafe.rollouts.generators.usage import EndpointSpending, UsageAccount

_AGAIN = "When it answers again, run the same command again: what was answered is kept."
_ROOM_EVERY_S = 0.005
_LOOK_EVERY_S = 1.0

_Place = Callable[[str, int], None]
"""Called with problem id and sample index."""

Listings = dict[tuple[str, int], list[dict[str, JSON]]]
"""By problem id and sample index: what the endpoint listed of each token of an answer."""


def request_seed(prompt: Prompt, sample_index: int) -> int:
    """The seed of one sample's request: derived, then cut to 31 bits, because servers refuse wider ones."""
    return derive_seed(prompt.seed, prompt.problem_id, sample_index) % 2**31


def _stopped() -> StoppedError:
    return StoppedError("Stopped as asked.", hint="Run the same command again to go on.")


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

    @property
    def most_tokens(self) -> tuple[int, int]:
        """Of prompt (estimated) and completion."""
        return estimate_tokens(self.prompt_bytes), self.asked.max_tokens


@final
class _Run:
    """What the workers of one run share, but for the connections."""

    def __init__(
        self, emit: Callable[[Attempt], None], before: _Place | None, not_asked: _Place | None, breaker: Breaker
    ) -> None:
        self.emit = emit
        self.before = before
        self.not_asked = not_asked
        self.breaker = breaker
        self.num_open = 0
        self.last_trouble = ""
        self.error: SpiritsafeError | None = None
        self._ended = asyncio.Event()

    def end(self, error: SpiritsafeError) -> None:
        """Nothing new is sent from now on; the first reason is the one that is raised."""
        self.error = self.error or error
        self._ended.set()

    async def unless_ended(self, wait: Coroutine[Any, Any, object]) -> None:
        """Wait, but not beyond the end."""
        tasks = [asyncio.ensure_future(wait), asyncio.ensure_future(self._ended.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()


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
        spending: What of a budget is used; None: there is none.
        listings: Where the likeliest tokens of answers go, before an attempt is emitted.
        tell: Hears who is waited for, and why.
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
        spending: EndpointSpending | None = None,
        listings: Listings | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._spending = EndpointSpending(None) if spending is None else spending
        self._listings: Listings = {} if listings is None else listings
        self._model = model
        self._digest = model_digest
        self._config = config
        self._account = account
        self._exchange = Exchange(url=url, model=model, api_key=api_key, config=config)
        self._limiter = RateLimiter(config.requests_per_minute, config.tokens_per_minute)
        self._url = url
        self._waiting = Waiting(url, tell)
        self._has_answered = False
        self._runs: set[_Run] = set()
        self._is_stopped = False

    def stop(self) -> None:
        """Send no new question, now or later; what is under way is waited for. Called inside the loop while it runs."""
        self._is_stopped = True
        for run in self._runs:
            run.end(_stopped())

    async def close(self) -> None:
        """Close all connections."""
        await self._exchange.close()

    async def run(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        emit: Callable[[Attempt], None],
        before: _Place | None = None,
        has_room: Callable[[], bool] = lambda: True,
        not_asked: _Place | None = None,
    ) -> None:
        """Draw every sample of every prompt; ``emit`` gets each attempt as it finishes.

        ``before`` is called before a sample is first sent; ``not_asked`` before the attempt is emitted of a sample that
        was given up without a byte of an answer. While ``has_room`` says no, nothing new is sent.

        Raises:
            EndpointError: The endpoint is unusable, or answers no more.
            BudgetError: What it may use is used up.
            StoppedError: It was stopped.
        """
        if self._is_stopped:
            raise _stopped()
        breaker = Breaker(self._config.concurrency, has_answered=self._has_answered)
        run = _Run(emit, before, not_asked, breaker)
        self._waiting.begin()
        jobs = self._jobs(prompts, sampling)
        total = sum(prompt.num_samples for prompt in prompts)

        async def work() -> None:
            for job in jobs:  # one iterator for all workers: each takes the next job when it is free
                while run.error is None and not has_room():
                    await asyncio.sleep(_ROOM_EVERY_S)
                if run.error is not None:
                    return
                run.num_open += 1
                try:
                    await self._draw(job, run)
                except SpiritsafeError as error:
                    run.end(error)
                finally:
                    run.num_open -= 1

        async def look() -> None:
            while True:
                await asyncio.sleep(_LOOK_EVERY_S)
                self._waiting.look(run.num_open, self._config.timeout_s)

        workers = [asyncio.ensure_future(work()) for _ in range(min(self._config.concurrency, total))]
        tasks = [*workers, asyncio.ensure_future(look())]
        self._runs.add(run)
        try:
            await asyncio.gather(*workers)
        finally:
            self._runs.remove(run)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if run.error is not None:
            raise run.error
        missed = run.breaker.num_missed if run.breaker.num_answered == 0 and not_asked is None else 0
        if missed > self._has_answered:  # one that is not answered by a live endpoint may be at fault itself
            raise self._gone(run)

    def _jobs(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[_Job]:
        options: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            # Not every server knows these, so they are sent only when they are to have an effect.
            **({"top_k": sampling.top_k} if sampling.top_k else {}),
            **({"min_p": sampling.min_p} if sampling.min_p else {}),
            **({"stop": list(sampling.stop)} if sampling.stop else {}),
            **({"logprobs": True} if self._config.logprobs or self._config.top_logprobs else {}),
            **({"top_logprobs": self._config.top_logprobs} if self._config.top_logprobs else {}),
        }
        if twice := sorted(options.keys() & self._config.extra_body.keys()):
            raise RecipeError(
                f"Both the sampling and extra_body say {twice[0]!r}.", hint=f"Leave {twice[0]} out of extra_body."
            )
        options |= self._config.extra_body
        for prompt in prompts:
            messages = [as_openai(message) for message in prompt.messages]
            tools = [json.loads(tool) for message in prompt.messages for tool in message.tools]
            limit = prompt.token_limit(sampling)
            asked = sampling if limit == sampling.max_tokens else sampling.model_copy(update={"max_tokens": limit})
            own: dict[str, Any] = {self._config.max_tokens_field: asked.max_tokens}
            own |= {"tools": tools} if tools else {}
            if prompt.prefix:
                messages.append({"role": "assistant", "content": prompt.prefix})
                own |= {"continue_final_message": True, "add_generation_prompt": False}
            body = _json({"model": self._model, "messages": messages, **own, **options})
            body_start = body[:-1] + b',"seed":'
            prompt_bytes = sum(len((message["content"] or "").encode("utf-8")) for message in messages)
            for index in range(prompt.first_sample, prompt.first_sample + prompt.num_samples):
                yield _Job(
                    prompt=prompt,
                    sample_index=index,
                    sampling=sampling,
                    asked=asked,
                    body_start=body_start,
                    prompt_bytes=prompt_bytes,
                )

    async def _draw(self, job: _Job, run: _Run) -> None:
        """All tries of one sample."""
        place = job.prompt.problem_id, job.sample_index
        body = b"%s%d}" % (job.body_start, request_seed(job.prompt, job.sample_index))
        booked = sum(job.most_tokens)
        begun, num_sent, seconds = False, 0, 0.0

        async def send() -> ChatReply | Trouble:
            nonlocal num_sent, seconds
            if run.before is not None and num_sent == 0:
                run.before(*place)
            outcome, seconds = await self._send(job, body, booked, is_again=num_sent > 0)
            num_sent += 1
            if isinstance(outcome, ChatReply) or outcome.answered:
                self._has_answered = True
                run.breaker.answered()
                self._waiting.heard()
            return outcome

        def judge(trouble: Trouble, is_last: bool) -> None:
            nonlocal begun
            begun = begun or trouble.begun
            self._judge(job, trouble, run, is_last=is_last)

        try:
            outcome, num_tries = await ask_until_answered(
                send,
                config=self._config,
                limiter=self._limiter,
                turn=lambda: self._turn(job, booked, run),
                rest=lambda seconds: run.unless_ended(asyncio.sleep(seconds)),
                seed_parts=(job.prompt.seed, *place),
                judge=judge,
            )
        except EndpointError:
            if not begun and run.not_asked is not None:
                run.not_asked(*place)
            raise
        if outcome is None:  # everything ended before it was first sent
            return
        if isinstance(outcome, ChatReply):
            run.emit(self._completed(job, outcome, seconds))
            return
        if not (outcome.answered or begun) and run.not_asked is not None:
            run.not_asked(*place)
        run.emit(self._failed(job, outcome, num_tries=num_tries, seconds=seconds))

    async def _send(self, job: _Job, body: bytes, booked: int, *, is_again: bool) -> tuple[ChatReply | Trouble, float]:
        """One try, counted; with the seconds that it took."""
        self._account.num_requests += 1
        self._account.num_retries += is_again
        started = time.perf_counter()
        used = (0, 0)
        try:
            outcome = await self._exchange.send(
                body, prompt_bytes=job.prompt_bytes, sampling=job.asked, begun=bool(job.prompt.prefix)
            )
            if isinstance(outcome, ChatReply):
                used = outcome.usage.num_prompt_tokens, outcome.usage.num_tokens
                self._account.add(outcome.usage)
                self._account.num_unstopped += outcome.went_on
        finally:
            self._spending.settle(job.most_tokens, used)
        self._limiter.refund(booked - sum(used))
        return outcome, time.perf_counter() - started

    def _judge(self, job: _Job, trouble: Trouble, run: _Run, *, is_last: bool) -> None:
        """What a failed try says of the endpoint.

        Raises:
            EndpointError: It is unusable: nothing was ever reached or answered, and more patience is of no use.
        """
        if trouble.answered:
            return
        self._waiting.trouble(trouble.reason, trouble.wait_s)
        run.last_trouble = trouble.reason
        if trouble.unreachable and is_last and not self._exchange.was_reached:
            hint = "Check the address, and that the server runs and has loaded its model."
            raise self._exchange.fatal(trouble.reason, hint)
        if trouble.timed_out and not self._has_answered:
            hint = "Check that the server has loaded its model; a slow one needs a longer timeout."
            raise self._exchange.fatal(trouble.reason, hint)
        if (is_last or trouble.timed_out) and run.breaker.missed(job.prompt.problem_id, timed_out=trouble.timed_out):
            run.end(self._gone(run))

    def _gone(self, run: _Run) -> EndpointError:
        num = run.breaker.num_missed
        questions = "a question" if num == 1 else f"{num} questions in a row"
        return EndpointError(f"{self._url} does not answer: {questions} failed ({run.last_trouble}).", hint=_AGAIN)

    async def _turn(self, job: _Job, booked: int, run: _Run) -> bool:
        """Wait for one's turn to send; False: everything ended first.

        Raises:
            BudgetError: There is nothing left to send it with.
        """
        if run.error is None and not self._limiter.take(booked):
            await run.unless_ended(self._limiter.acquire(booked))
        while run.error is None and not self._spending.reserve(*job.most_tokens):
            await run.unless_ended(asyncio.sleep(_ROOM_EVERY_S))
        return run.error is None

    def _completed(self, job: _Job, reply: ChatReply, seconds: float) -> Attempt:
        if reply.listing:
            self._listings[job.prompt.problem_id, job.sample_index] = list(reply.listing)
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
