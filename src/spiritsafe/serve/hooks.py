"""Where the operation of a server plugs in: who asks, whether there is room, what was used, what is told of a model.

Each hook is one small protocol; what :class:`Hooks` holds unless told otherwise lets everybody in and writes nothing
down. A hook refuses a request by raising :class:`~spiritsafe.serve.refusals.Refusal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal, Protocol, final

from aiohttp import web
from pydantic import JsonValue

from spiritsafe.core.serving import ServedEngine, ServedModel


@final
@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A model that requests can name.

    Attributes:
        created: When its bytes came to be, in seconds since 1970.
        facts: Told of it in the list of models, beside what every model tells.
    """

    engine: ServedEngine
    model: ServedModel
    created: int = 0
    facts: Mapping[str, JsonValue] = field(default_factory=dict)


@final
@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks.

    Attributes:
        name: For the ledger and for limits.
        cache_key: What is kept of prompts is shared under one key, and never between two.
        models: Names of the models that there are for this caller; None: all.
    """

    name: str = "anonymous"
    cache_key: str = ""
    models: frozenset[str] | None = None

    def sees(self, model: str) -> bool:
        """Whether there is a model of this name for this caller."""
        return self.models is None or model in self.models


RequestOutcome = Literal["answered", "refused", "failed", "cancelled"]


@final
@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one request used.

    Attributes:
        interface: Path of the interface.
        model: As it was asked for.
        answered_by: The model that answered: another one where the asked one chooses.
        num_prompt_tokens: A prompt that several answers were drawn from counts once.
        num_tokens: Drawn, of all answers.
        num_dropped: Drawn too, by models whose answers were not kept.
        wait_s: From the request's arrival until there was room for it.
        first_s: From the arrival to the first piece of an answer; None where there was none.
        total_s: From the arrival to the end.
    """

    request_id: str
    caller: Caller
    interface: str
    model: str
    answered_by: str
    digest: str
    outcome: RequestOutcome
    status: int
    stream: bool
    num_jobs: int
    num_prompt_tokens: int
    num_cached: int
    num_tokens: int
    num_thought_tokens: int
    num_dropped: int
    wait_s: float
    first_s: float | None
    total_s: float


class Authoriser(Protocol):
    """Says who asks."""

    async def authorise(self, request: web.Request) -> Caller:
        """The caller, by the request's head; its body is not read yet.

        Raises:
            Refusal: 401 or 403.
        """
        ...


class AdmissionControl(Protocol):
    """Says whether there is room."""

    def admit(
        self, caller: Caller, model: ServedModel, num_jobs: int
    ) -> AbstractAsyncContextManager[Mapping[str, str] | None]:
        """A context that is entered when it is the request's turn, and left when the request is over, however it ends.

        It may give headers of the answer, such as ``x-ratelimit-remaining-requests``.

        Raises:
            Refusal: While it is entered: 429 over a limit, 503 where the queue is full or the server ends.
        """
        ...


class UsageRecorder(Protocol):
    """Writes down what was used."""

    def record(self, usage: Usage) -> None:
        """Called once for each request that named a model, also where it was refused or cancelled. Must not block."""
        ...


class ModelFacts(Protocol):
    """What answers tell of the model that gave them."""

    def headers(self, model: ServedModel) -> Mapping[str, str]:
        """Added to the head of each answer of the model."""
        ...

    def facts(self, model: ServedModel) -> Mapping[str, JsonValue]:
        """Added to the model's entry in ``/v1/models``."""
        ...


class Readiness(Protocol):
    """Says whether new requests are welcome."""

    def unready(self) -> str | None:
        """Why not; None where they are."""
        ...


@final
class Everybody:
    """Lets everybody in, under one name."""

    async def authorise(self, request: web.Request) -> Caller:
        """The anonymous caller."""
        return Caller()


@final
class NoLimits:
    """Has room for everything at once."""

    def admit(
        self, caller: Caller, model: ServedModel, num_jobs: int
    ) -> AbstractAsyncContextManager[Mapping[str, str] | None]:
        """Waits for nothing."""
        return nullcontext({})


@final
class NoRecords:
    """Writes nothing down."""

    def record(self, usage: Usage) -> None:
        """Does nothing."""


@final
class NoFacts:
    """Tells nothing beyond the digest."""

    def headers(self, model: ServedModel) -> Mapping[str, str]:
        """None."""
        return {}

    def facts(self, model: ServedModel) -> Mapping[str, JsonValue]:
        """None."""
        return {}


@final
class AlwaysReady:
    """Always takes new requests."""

    def unready(self) -> str | None:
        """None."""
        return None


@final
@dataclass(frozen=True, kw_only=True)
class Hooks:
    """All hooks of a server."""

    authoriser: Authoriser = field(default_factory=Everybody)
    admission: AdmissionControl = field(default_factory=NoLimits)
    recorder: UsageRecorder = field(default_factory=NoRecords)
    facts: ModelFacts = field(default_factory=NoFacts)
    readiness: Readiness = field(default_factory=AlwaysReady)
