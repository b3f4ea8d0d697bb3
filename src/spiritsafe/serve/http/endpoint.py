"""One interface at its path: a request is read, admitted, run and answered, and what it used is recorded.

In: HTTP. Out: HTTP. A client that goes away cancels the handler (:func:`spiritsafe.serve.app.make_app_runner` asks for
that), which closes the request's jobs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import orjson
from aiohttp import web

from spiritsafe.core.errors import SpiritsafeError
from spiritsafe.core.serving import Accepted, Ended, Failed, Job, JobEvent, ServedModel, Withheld
from spiritsafe.serve.answers.running import Collector, running
from spiritsafe.serve.asking.body import read_body
from spiritsafe.serve.hooks import Caller, Deployment, Hooks, RequestOutcome, Usage
from spiritsafe.serve.interface import Ask, Context, Interface, JobAnswer, totals
from spiritsafe.serve.refusals import Refusal, refusal_of, refusal_of_error

_LOG = logging.getLogger("spiritsafe.serve")

REQUEST_ID = web.RequestKey("request_id", str)
_SMALL_CHUNK = 1 << 14  # bytes; a transport asks its writer to wait at 65536
DIGEST_HEADER = "spiritsafe-model-digest"
IGNORED_HEADER = "spiritsafe-ignored"
RUNG_HEADER = "spiritsafe-rung"
"""Name of the model that answers, where the one that was asked only chooses."""
DROPPED_HEADER = "spiritsafe-dropped-tokens"
"""Tokens that were drawn for answers that were not kept; absent where there are none."""


@final
@dataclass(frozen=True, kw_only=True)
class ServerLimits:
    """What a server takes from one connection.

    Attributes:
        body_bytes: Largest body.
        read_s: Longest time that a body may take to arrive.
        stall_s: Longest time that a reader of a stream may take nothing; the connection is closed then.
    """

    body_bytes: int = 4 << 20
    read_s: float = 60.0
    stall_s: float = 60.0


@dataclass
class _Progress:
    """How far a request has come, for the record."""

    begun: float = field(default_factory=time.monotonic)
    admitted: float | None = None
    first: float | None = None
    status: int = 200
    outcome: RequestOutcome = "answered"
    collectors: list[Collector] = field(default_factory=list)


@final
class Endpoint:
    """Handles the requests of one interface."""

    def __init__(
        self, interface: Interface, models: Mapping[str, Deployment], hooks: Hooks, limits: ServerLimits
    ) -> None:
        self.interface = interface
        self._models = models
        self._hooks = hooks
        self._limits = limits

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The answer to a request.

        Raises:
            Refusal: There is none.
        """
        progress = _Progress()
        caller = await self._hooks.authoriser.authorise(request)
        body = read_body(await self._read(request), self.interface.request)
        deployment = deployment_of(body.model, self._models, caller)
        context = Context(
            name=body.model,
            model=deployment.model,
            cache_key=caller.cache_key,
            request_id=request[REQUEST_ID],
            created=int(time.time()),
            headers=request.headers,
        )
        ask: Ask | None = None
        try:
            ask = self.interface.read(body, context)
            _check_size(ask)
            _check_alone(ask)
            progress.collectors = [Collector(keep=not ask.stream) for _ in ask.jobs]
            async with self._hooks.admission.admit(caller, deployment.model, len(ask.jobs)) as told:
                ask = replace(ask, headers={**(told or {}), **ask.headers})
                progress.admitted = time.monotonic()
                return await self._answer(request, ask, deployment, progress)
        except asyncio.CancelledError:
            progress.status, progress.outcome = 499, "cancelled"
            raise
        except SpiritsafeError as error:
            refusal = refusal_of_error(error)
            refusal.headers.update(self._model_headers(deployment.model))
            _note(progress, refusal)
            raise refusal from error
        except Exception:
            progress.status, progress.outcome = 500, "failed"
            raise
        finally:
            self._hooks.recorder.record(self._usage(context, caller, ask, progress, body.stream))

    async def _read(self, request: web.Request) -> bytes:
        if request.content_type != "application/json":
            raise Refusal(
                f"The body is {request.content_type[:80]}, not JSON.",
                hint="Send the header Content-Type: application/json.",
                status=415,
                code="unsupported_media_type",
            )
        try:
            async with asyncio.timeout(self._limits.read_s):
                return await request.read()
        except TimeoutError as error:
            raise Refusal(
                f"The body did not arrive within {self._limits.read_s:g} s.",
                hint="Send it at once.",
                status=408,
                code="request_timeout",
            ) from error

    async def _answer(
        self, request: web.Request, ask: Ask, deployment: Deployment, progress: _Progress
    ) -> web.StreamResponse:
        if ask.counting:
            answers = [await self._count(deployment, job, ask) for job in ask.jobs]
            return self._whole(ask, answers)
        async with running(deployment.engine, ask.jobs) as events:
            if ask.stream:
                return await self._stream(request, ask, events, progress)
            async for index, event in events:
                if isinstance(event, Failed):
                    raise refusal_of(event, ask.params)
                _add(progress, index, event)
        return self._whole(ask, [_ended(collector) for collector in progress.collectors])

    async def _count(self, deployment: Deployment, job: Job, ask: Ask) -> JobAnswer:
        counted = await deployment.engine.count(job)
        if isinstance(counted, Failed):
            raise refusal_of(counted, ask.params)
        return JobAnswer(accepted=Accepted(num_prompt_tokens=counted), ended=Ended(reason="stop", num_tokens=0))

    def _whole(self, ask: Ask, answers: Sequence[JobAnswer]) -> web.Response:
        return web.Response(
            body=orjson.dumps(self.interface.whole(ask, answers)),
            content_type="application/json",
            headers=self._headers(ask, answers[0].accepted),
        )

    async def _stream(
        self,
        request: web.Request,
        ask: Ask,
        events: AsyncIterator[tuple[int, JobEvent]],
        progress: _Progress,
    ) -> web.StreamResponse:
        """Headers go out with the first event, so that what fails before it has a status of its own."""
        writer = self.interface.stream(ask)
        response: web.StreamResponse | None = None
        try:
            async for index, event in events:
                if isinstance(event, Failed):
                    raise refusal_of(event, ask.params)
                _add(progress, index, event)
                if isinstance(event, Withheld):
                    continue
                if response is None:
                    response = await self._open(request, ask, event)
                if chunk := writer.event(index, event):
                    await self._write(request, response, chunk)
            for collector in progress.collectors:
                _ended(collector)
            if response is None:
                raise Refusal("The model said nothing.", hint="Ask again.", status=500, code="failed")
            await self._write(request, response, writer.closing())
        except Exception as error:
            if response is None:
                raise
            refusal = refusal_of_error(error) if isinstance(error, SpiritsafeError) else defect(request)
            _note(progress, refusal)
            await self._write(request, response, writer.failure(refusal))
        await response.write_eof()
        return response

    async def _open(self, request: web.Request, ask: Ask, event: JobEvent) -> web.StreamResponse:
        accepted = event if isinstance(event, Accepted) else Accepted(num_prompt_tokens=0)
        headers = {
            **self._headers(ask, accepted),
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
        }
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        return response

    async def _write(self, request: web.Request, response: web.StreamResponse, chunk: bytes) -> None:
        """Waits while the reader is behind, so that no more than the transport's buffer is held for it."""
        transport = request.transport
        try:
            if transport is not None and not transport.get_write_buffer_size() and len(chunk) < _SMALL_CHUNK:
                await response.write(chunk)  # it cannot come to wait, and a timer costs as much as the rest of this
                return
            async with asyncio.timeout(self._limits.stall_s):
                await response.write(chunk)
        except (TimeoutError, ConnectionError):
            if transport is not None:
                transport.abort()
            raise asyncio.CancelledError from None  # as if aiohttp had seen first that the client is gone

    def _headers(self, ask: Ask, accepted: Accepted) -> dict[str, str]:
        headers = {**self._model_headers(accepted.answered_by or ask.context.model), **ask.headers}
        if accepted.answered_by is not None:
            headers[RUNG_HEADER] = accepted.answered_by.name
        if accepted.num_dropped:
            headers[DROPPED_HEADER] = str(accepted.num_dropped)
        if ask.ignored:
            headers[IGNORED_HEADER] = ", ".join(ask.ignored)
        return headers

    def _model_headers(self, model: ServedModel) -> dict[str, str]:
        return {DIGEST_HEADER: model.digest, **self._hooks.facts.headers(model)}

    def _usage(self, context: Context, caller: Caller, ask: Ask | None, progress: _Progress, stream: bool) -> Usage:
        now = time.monotonic()
        ends = [collector.counted() for collector in progress.collectors]
        used = totals(ask.prompt_of, ends) if ask is not None and ends else totals((), ())
        by = next((accepted.answered_by for accepted, _ in ends if accepted.answered_by), context.model)
        return Usage(
            request_id=context.request_id,
            caller=caller,
            interface=self.interface.path,
            model=context.name,
            answered_by=by.name,
            digest=by.digest,
            outcome=progress.outcome,
            status=progress.status,
            stream=stream,
            num_jobs=len(progress.collectors),
            num_prompt_tokens=used.num_prompt_tokens,
            num_cached=used.num_cached,
            num_tokens=used.num_tokens,
            num_thought_tokens=used.num_thought_tokens,
            num_dropped=used.num_dropped,
            wait_s=(progress.admitted or now) - progress.begun,
            first_s=None if progress.first is None else progress.first - progress.begun,
            total_s=now - progress.begun,
        )


def defect(request: web.Request) -> Refusal:
    """What a client is told of the exception that is being handled: the log has the rest."""
    _LOG.exception("request %s failed", request[REQUEST_ID])
    return Refusal(
        "The server failed.",
        hint=f"Tell who runs it: its log says more of request {request[REQUEST_ID]}.",
        status=500,
        code="failed",
    )


def deployment_of(name: str, models: Mapping[str, Deployment], caller: Caller) -> Deployment:
    """The model that a caller means by a name.

    Raises:
        Refusal: 404, with the names that there are.
    """
    found = models.get(name)
    if found is None or not caller.sees(name):
        raise Refusal(
            f"The model {name[:120]!r} does not exist here.",
            hint=f"There are: {', '.join(sorted(filter(caller.sees, models))) or 'none'}.",
            status=404,
            param="model",
            code="model_not_found",
        )
    return found


def _check_size(ask: Ask) -> None:
    """Refuses what cannot fit before it goes through a pipe."""
    model = ask.context.model
    for job in ask.jobs:
        texts = (job.text or "", job.prefix, *(message.content for message in job.messages))
        size = sum(len(text.encode()) for text in texts)
        if size > model.max_prompt_bytes or len(job.token_ids or ()) > model.context:
            param = "messages" if job.messages else "text" if job.text is not None else "token_ids"
            raise Refusal(
                f"The prompt cannot fit the context of {model.context} tokens of {model.name}.",
                hint="Shorten it.",
                param=ask.params.get(param, param),
                code="context_length_exceeded",
            )


def _check_alone(ask: Ask) -> None:
    """Refuses several answers of a model that chooses who answers: one head cannot tell of several models."""
    if len(ask.jobs) > 1 and ask.context.model.kind == "router":
        raise Refusal(
            f"{ask.context.name} gives one answer a request: several might come from several models.",
            hint="Ask several times, or name the model that is to answer.",
            param="prompt" if len(set(ask.prompt_of)) > 1 else "n",
            code="unsupported_value",
        )


def _note(progress: _Progress, refusal: Refusal) -> None:
    progress.status = refusal.status
    progress.outcome = "failed" if refusal.status >= 500 and refusal.status != 503 else "refused"


def _add(progress: _Progress, index: int, event: JobEvent) -> None:
    if isinstance(event, Failed):
        return
    if progress.first is None and not isinstance(event, Withheld | Accepted):
        progress.first = time.monotonic()
    progress.collectors[index].add(event)


def _ended(collector: Collector) -> JobAnswer:
    if collector.ended is None or collector.accepted is None:
        raise Refusal("The model stopped before its answer was whole.", hint="Ask again.", status=500, code="failed")
    return collector.answer()
