"""Control of a server: keys, limits, queues, usage and drain, plugged into the application's hooks.

In: what ``spiritsafe serve`` was told. Out: :attr:`ServerControl.hooks` for :func:`spiritsafe.serve.app.make_app`, the
route of ``/metrics``, and an orderly end.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import final

from aiohttp import web

from spiritsafe.core.serving import ServedEngine, ServedModel
from spiritsafe.serve.hooks import Caller, Hooks, Usage
from spiritsafe.serve.operation.admission import AdmissionQueue
from spiritsafe.serve.operation.certificates import ModelCertificates
from spiritsafe.serve.operation.drain import Drain
from spiritsafe.serve.operation.keys import ANYBODY, ApiKey, KeyRing, key_of_headers
from spiritsafe.serve.operation.limits import KeyLimiter
from spiritsafe.serve.operation.metrics import METRICS_CONTENT_TYPE, ServerMetrics
from spiritsafe.serve.operation.usage import UsageLedger, UsageRow, time_before
from spiritsafe.serve.refusals import Refusal

_AFTER_END_S = 5.0  # for error bodies to be written, once workers have ended
_SUSPECT_S = 60.0
"""A model that is silent for so long is told of long before it is ended: a false alarm costs no answer."""


@final
@dataclass(frozen=True, kw_only=True)
class QueueLimits:
    """Room at each model.

    Attributes:
        places: Completions that are drawn at a time.
        most_waiting: Requests that wait.
        longest_wait_s: How long one waits.
    """

    places: int = 64
    most_waiting: int = 256
    longest_wait_s: float = 60.0


@final
class ServerControl:
    """What a server's operation consists of.

    Args:
        models: Names of the served models.
        keys: None: everybody may ask.
        only_local: Refuse requests that name another host than this machine: a page in a browser here may have its
            own name led to this machine's address (DNS rebinding), and could then ask and read.
        ledger: None: nothing is written down.
        silences: For how many seconds each model has owed a word, by name.
    """

    def __init__(
        self,
        models: Sequence[str],
        *,
        keys: KeyRing | None = None,
        ledger: UsageLedger | None = None,
        queues: QueueLimits | None = None,
        certificates: ModelCertificates | None = None,
        only_local: bool = False,
        silences: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self.drain = Drain()
        self._silences = silences
        self._keys, self._ledger, self._queue_limits = keys, ledger, queues or QueueLimits()
        self._limiter = KeyLimiter()
        self._queues: dict[str, AdmissionQueue] = {model: self._new_queue() for model in models}
        self._num_bad_keys, self._only_local = 0, only_local
        self.metrics = ServerMetrics(models, [
            ("vllm:num_requests_running", "Completions that are drawn now.", self._running),
            ("vllm:num_requests_waiting", "Requests in the queue.", self._waiting),
            ("spiritsafe:silent_seconds", "For how long its process has owed an answer and said nothing.", silences),
            ("spiritsafe:draining", "1: the server ends.", lambda: {"": float(self.drain.is_draining)}),
            ("spiritsafe:keys_file_current", "0: the keys file cannot be read as it is now.", self._keys_state),
            ("spiritsafe:bad_keys_total", "Requests whose key is not known, so far.", lambda: {"": self._num_bad_keys}),
            ("spiritsafe:usage_ledger_written", "0: usage cannot be written down now.", self._ledger_state),
            ("spiritsafe:usage_rows_lost_total", "Rows of usage that were lost, so far.", self._ledger_losses),
        ])  # fmt: skip
        self.hooks = Hooks(
            authoriser=self, admission=self, recorder=self, readiness=self,
            facts=certificates or ModelCertificates({}),
        )  # fmt: skip

    def _new_queue(self) -> AdmissionQueue:
        limits = self._queue_limits
        return AdmissionQueue(
            num_places=limits.places, most_waiting=limits.most_waiting, longest_wait_s=limits.longest_wait_s
        )

    def _running(self) -> Mapping[str, float]:
        return {model: queue.num_taken for model, queue in self._queues.items()}

    def _waiting(self) -> Mapping[str, float]:
        return {model: queue.num_waiting for model, queue in self._queues.items()}

    def _keys_state(self) -> Mapping[str, float]:
        return {"": float(self._keys is None or self._keys.is_current)}

    def _ledger_state(self) -> Mapping[str, float]:
        return {"": float(self._ledger is None or self._ledger.is_written)}

    def _ledger_losses(self) -> Mapping[str, float]:
        return {"": 0 if self._ledger is None else self._ledger.num_lost}

    # --- hooks --------------------------------------------------------------------------------------------------------

    async def authorise(self, request: web.Request) -> Caller:
        """Who asks, by the key that the request sends.

        Raises:
            Refusal: 401, or 403 where only this machine may ask.
        """
        if self._only_local and not _is_local(request.url.host):
            raise Refusal(
                "This server has no keys and is asked by a name that may be anybody's.",
                hint="Ask 127.0.0.1 or localhost; or start it with --keys, or with --no-keys behind a proxy of yours.",
                status=403,
                code="host_not_allowed",
            )
        key = ANYBODY if self._keys is None else self._key_of(request, self._keys)
        models = key.limits.models
        return Caller(name=key.name, cache_key=key.cache_key, models=None if models is None else frozenset(models))

    def _key_of(self, request: web.Request, keys: KeyRing) -> ApiKey:
        offered = key_of_headers(request.headers)
        key = None if offered is None else keys.find(offered)
        if key is None:
            self._num_bad_keys += 1
            said = "This key is not known." if offered else "No key was sent, or two different ones."
            raise Refusal(
                said,
                hint="Send yours: Authorization: Bearer KEY, or x-api-key: KEY.",
                status=401,
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return key

    def unready(self) -> str | None:
        """For ``/health``: the server ends, or a model hangs."""
        silent = [f"{name} has said nothing for {s:.0f} s" for name, s in self._silences().items() if s >= _SUSPECT_S]
        return self.drain.unready() or "; ".join(silent) or None

    @asynccontextmanager
    async def admit(self, caller: Caller, model: ServedModel, num_jobs: int) -> AsyncIterator[Mapping[str, str]]:
        """A place for a request, until it is over; what is given are headers of its answer.

        Raises:
            Refusal: 429: over a limit, or no place. 503: the server ends.
        """
        key = self._key_named(caller.name)
        queue = self._queues.get(model.name)
        if queue is None:  # a model that came later
            queue = self._queues[model.name] = self._new_queue()
        with self.drain.running():
            self._limiter.enter(key)
            try:
                await queue.enter(key.name, num_jobs)
                try:
                    yield self._limiter.headers(key)
                finally:
                    queue.leave(num_jobs)
            finally:
                self._limiter.leave(key)

    def _key_named(self, name: str) -> ApiKey:
        found = None if self._keys is None else self._keys.named(name)
        return found or ApiKey(name=name)  # a key that went while its last request was read

    def record(self, usage: Usage) -> None:
        """Count it against the key's limits, in the metrics and in the ledger."""
        num_tokens = usage.num_prompt_tokens + usage.num_tokens + usage.num_dropped
        self._limiter.charge(self._key_named(usage.caller.name), num_tokens)
        self.metrics.count(usage)
        if self._ledger is not None:
            self._ledger.add(_row_of(usage))

    # --- beside the hooks ---------------------------------------------------------------------------------------------

    def routes(self) -> list[web.RouteDef]:
        """``/metrics``; it needs no key, as it tells of none."""
        return [web.get("/metrics", self._show_metrics)]

    async def _show_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self.metrics.text(), headers={"Content-Type": METRICS_CONTENT_TYPE})

    def reread_keys(self) -> None:
        """Read the keys file now (SIGHUP)."""
        if self._keys is not None:
            self._keys.look(now=True)

    async def end(self, engines: Sequence[ServedEngine], timeout_s: float, at_once: asyncio.Event) -> bool:
        """Take nothing new, let what is under way end, end the rest with an error, and end the workers.

        Args:
            timeout_s: How long requests under way may take.
            at_once: When it is set, nothing is waited for any more.

        Returns:
            Whether all requests came to their own end.
        """
        self.drain.begin(timeout_s)
        waiting = {asyncio.create_task(self.drain.idle(timeout_s)), asyncio.create_task(at_once.wait())}
        _, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        is_whole = self.drain.num_running == 0
        self.drain.is_over = True
        for queue in self._queues.values():
            queue.end(self.drain.refusal)
        # Each job of a worker that ends fails, and so its request is answered with an error, or its stream ends in one.
        await asyncio.gather(*(engine.close() for engine in engines))
        await self.drain.idle(_AFTER_END_S)
        return is_whole


def _is_local(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False


def _row_of(usage: Usage) -> UsageRow:
    return UsageRow(
        time=time_before(usage.total_s),
        request=usage.request_id,
        key=usage.caller.name,
        endpoint=usage.interface,
        asked=usage.model,
        model=usage.answered_by,
        digest=usage.digest,
        prompt_tokens=usage.num_prompt_tokens,
        cached_tokens=usage.num_cached,
        completion_tokens=usage.num_tokens,
        thought_tokens=usage.num_thought_tokens,
        dropped_tokens=usage.num_dropped,
        status=usage.status,
        first_token_ms=None if usage.first_s is None else round(1000 * usage.first_s, 3),
        total_ms=round(1000 * usage.total_s, 3),
    )
