"""A server from its start to its end: a port, workers that load one after another, answers, signals, an orderly end.

In: what is to be served and how. Out: nothing but answers, until SIGTERM or SIGINT; then requests under way come to
their end, up to a time limit. A second signal ends at once. SIGHUP reads the keys file again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol, final

from aiohttp import web

from spiritsafe.core.errors import IntegrityError, RecipeError
from spiritsafe.core.serving import ServedEngine
from spiritsafe.serve.app import make_app, make_app_runner
from spiritsafe.serve.hooks import Deployment
from spiritsafe.serve.operation.certificates import (
    CertificateFiles,
    ModelCertificates,
    VerifiedCertificate,
    verified_certificates,
)
from spiritsafe.serve.operation.control import QueueLimits, ServerControl
from spiritsafe.serve.operation.drain import DrainedEngine
from spiritsafe.serve.operation.keys import KeyRing
from spiritsafe.serve.operation.usage import UsageLedger
from spiritsafe.serve.routing.engine import AUTO, RoutedEngine
from spiritsafe.serve.routing.facts import router_facts
from spiritsafe.serve.routing.records import Router
from spiritsafe.serve.workers.client import WorkerEngine

_LOG = logging.getLogger(__name__)
_BACKLOG = 1024
_CLEAN_UP_S = 2.0


class LoadWatcher(Protocol):
    """Hears of models that are loaded."""

    def begin(self, label: str) -> None:
        """One is being loaded."""
        ...

    def end(self, summary: str | None = None) -> None:
        """It is there; without a summary it is not."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class ModelToServe:
    """A model, and who starts its worker.

    Attributes:
        name: By which requests ask for it.
        start: Makes its engine; the weights are loaded when that is asked what it is.
        created: When its bytes came to be, in seconds since 1970.
        digest: What it has to be; None: whatever it is.
        certificates: Those that may be of its bytes.
    """

    name: str
    start: Callable[[], ServedEngine]
    created: int = 0
    digest: str | None = None
    certificates: Sequence[CertificateFiles] = ()


@final
@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """How a server is run.

    Attributes:
        keys: None: everybody may ask.
        only_local: Without keys: only who asks this machine by an address or name of its own.
        usage: None: nothing is written down.
        router: Chooses among the models who answers what the model ``auto`` is asked; None: there is no such model.
        shutdown_timeout_s: How long requests under way may take, once the server is told to end.
    """

    keys: KeyRing | None = None
    only_local: bool = False
    usage: UsageLedger | None = None
    queues: QueueLimits = field(default_factory=QueueLimits)
    router: Router | None = None
    shutdown_timeout_s: float = 30.0


def is_loopback(host: str) -> bool:
    """Whether a name or address of this machine is reached from this machine alone."""
    return all(
        ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for _, address in _addresses(host, 0)
    )


def open_port(host: str, port: int) -> socket.socket:
    """A socket that has the port, and does not yet listen: whoever calls meanwhile is told that nobody is there.

    Raises:
        RecipeError: There is no such host here, or the port is taken or not allowed.
    """
    family, address = _addresses(host, port)[0]
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        with _taken(host, port):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(address)
    except RecipeError:
        opened.close()
        raise
    return opened


@contextmanager
def _taken(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RecipeError(
            f"Port {port} of {host} cannot be had: {error.strerror or error}.",
            hint="Give another one: --port NUMBER; 0 takes any that is free.",
        ) from error


def _addresses(host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RecipeError(
            f"There is no host {host!r} here: {reason}.", hint="Give 127.0.0.1, ::1, 0.0.0.0 or a name of this machine."
        ) from error
    return [(family, address) for family, _, _, _, address in found]


def url_of(opened: socket.socket) -> str:
    """Where a socket is reached."""
    host, port = opened.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve(
    models: Sequence[ModelToServe],
    opened: socket.socket,
    settings: ServerSettings,
    *,
    watcher: LoadWatcher,
    ready: Callable[[Mapping[str, Deployment]], None],
) -> bool:
    """Load models, answer, and end in good order when a signal says so.

    Args:
        opened: By :func:`open_port`.
        ready: Is told of the models once they answer.

    Returns:
        Whether all requests came to their own end.

    Raises:
        SpiritsafeError: A model cannot be loaded, or is not what its release or certificate says.
    """
    wish, at_once = asyncio.Event(), asyncio.Event()
    loaded = _Loaded()
    try:
        with _signals(lambda: (at_once if wish.is_set() else wish).set(), (signal.SIGTERM, signal.SIGINT)):
            if not await _before(wish, loaded.load(models, watcher)):
                return True
            if settings.router is not None:
                await loaded.add_router(settings.router)
            control = ServerControl(
                tuple(loaded.deployments),
                keys=settings.keys,
                ledger=settings.usage,
                queues=settings.queues,
                only_local=settings.only_local,
                certificates=ModelCertificates({digest: ones.values() for digest, ones in loaded.certificates.items()}),
                silences=loaded.silences,
            )
            with _signals(wish.set if settings.keys is None else control.reread_keys, (signal.SIGHUP,)):
                return await _answer(loaded, control, opened, settings, ready, (wish, at_once))
    finally:
        await loaded.close()
        if settings.usage is not None:
            settings.usage.close()


async def _answer(
    loaded: _Loaded,
    control: ServerControl,
    opened: socket.socket,
    settings: ServerSettings,
    ready: Callable[[Mapping[str, Deployment]], None],
    events: tuple[asyncio.Event, asyncio.Event],
) -> bool:
    """Answer until the first event is set; whether all requests came to their own end."""
    models = {
        name: replace(one, engine=DrainedEngine(one.engine, control.drain)) for name, one in loaded.deployments.items()
    }
    runner = make_app_runner(make_app(models, hooks=control.hooks, routes=control.routes()), shutdown_s=_CLEAN_UP_S)
    await runner.setup()
    try:
        with _taken(*opened.getsockname()[:2]):
            await web.SockSite(runner, opened, backlog=_BACKLOG).start()
        ready(models)
        wish, at_once = events
        await wish.wait()
        _LOG.info("ending: %d requests are under way", control.drain.num_running)
        return await control.end(loaded.engines, settings.shutdown_timeout_s, at_once)
    finally:
        await runner.cleanup()


@final
class _Loaded:
    """The workers that were started, and what they hold."""

    def __init__(self) -> None:
        self.engines: list[ServedEngine] = []
        self.deployments: dict[str, Deployment] = {}
        self.certificates: dict[str, dict[str, VerifiedCertificate]] = {}

    async def load(self, models: Sequence[ModelToServe], watcher: LoadWatcher) -> None:
        """Start one after another: two that load at once would need the memory of both loads."""
        for model in models:
            watcher.begin(f"load {model.name}")
            summary = None
            try:
                summary = await self._load(model)
            finally:
                watcher.end(summary)

    async def _load(self, model: ModelToServe) -> str:
        engine = model.start()
        self.engines.append(engine)
        served = (await engine.describe()).model_copy(update={"name": model.name})
        if model.digest not in (None, served.digest):
            raise IntegrityError(
                f"The model {model.name} is {served.digest}, and its release says {model.digest}.",
                hint="Get the release again from who made it.",
            )
        found = await asyncio.to_thread(verified_certificates, served, model.certificates)
        known = self.certificates.setdefault(served.digest, {})  # the same bytes may be served under two names
        known.update({one.digest: one for one in found})
        self.deployments[model.name] = Deployment(engine=engine, model=served, created=model.created)
        exams = ", ".join(one.exam for one in found)
        return f"{served.digest[:19]}…, {f'certified: {exams}' if found else 'no certificate'}"

    async def add_router(self, router: Router) -> None:
        """Serve the model that asks the others; nothing is loaded for it.

        Raises:
            RecipeError: Another model has its name.
            CompatibilityError: One of its rungs is not served.
        """
        if AUTO in self.deployments:
            raise RecipeError(
                f"A model is called {AUTO}, which is what the router is called.", hint="Give it another: name=PATH."
            )
        engines: dict[str, ServedEngine] = {}
        names: dict[str, str] = {}
        for name, one in self.deployments.items():  # of two names of the same bytes the first
            engines.setdefault(one.model.digest, one.engine)
            names.setdefault(one.model.digest, name)
        engine = RoutedEngine(router, engines, names=names)
        rungs = [self.deployments[names[rung.digest]] for rung in router.rungs]
        self.deployments[AUTO] = Deployment(
            engine=engine,
            model=await engine.describe(),
            created=max(rung.created for rung in rungs),
            facts=router_facts(router, names),
        )

    def silences(self) -> Mapping[str, float]:
        """For how long each process has owed a word, by its model's name."""
        every = {name: one.engine for name, one in self.deployments.items()}
        return {name: engine.silent_s for name, engine in every.items() if isinstance(engine, WorkerEngine)}

    async def close(self) -> None:
        """End all workers."""
        await asyncio.gather(*(engine.close() for engine in self.engines))


async def _before(event: asyncio.Event, work: Awaitable[None]) -> bool:
    """Do something unless an event comes first; whether it was done."""
    doing, waiting = asyncio.ensure_future(work), asyncio.create_task(event.wait())
    try:
        await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
        return doing.done()
    finally:
        for task in (doing, waiting):
            task.cancel()
        await asyncio.gather(doing, waiting, return_exceptions=True)


@contextmanager
def _signals(handler: Callable[[], object], numbers: Sequence[signal.Signals]) -> Iterator[None]:
    """While the block runs, these signals call this."""
    loop = asyncio.get_running_loop()
    for number in numbers:
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
