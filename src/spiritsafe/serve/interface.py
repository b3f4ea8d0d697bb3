"""What an interface is: one file in :mod:`spiritsafe.serve.api` that holds an ``INTERFACE``.

In: the body of a request, read into the interface's own pydantic model. Out: an :class:`Ask`, whose jobs the app runs;
then the answer, whole or as server-sent events. An interface knows nothing of connections, keys or engines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, final

from pydantic import BaseModel

from spiritsafe.core.canonical import digest
from spiritsafe.core.serving import Accepted, AnswerPiece, Ended, Job, Part, ServedModel, Token
from spiritsafe.serve.asking.fields import RequestBody
from spiritsafe.serve.refusals import Refusal


@final
@dataclass(frozen=True, kw_only=True)
class Context:
    """What an interface is told beside the body.

    Attributes:
        name: Of the model, as the request has it.
        model: What its worker says of it.
        cache_key: The caller's; every job carries it, or one that begins with it.
        request_id: The answer's ids are made of it.
        created: Seconds since 1970.
        headers: Of the request; their names are read whatever their case.
    """

    name: str
    model: ServedModel
    cache_key: str
    request_id: str
    created: int
    headers: Mapping[str, str] = field(default_factory=dict)


@final
@dataclass(frozen=True, kw_only=True)
class Ask:
    """What a request comes to.

    Attributes:
        jobs: One for each answer that is asked for.
        prompt_of: Which prompt each job is of; those of one prompt stand together, and usage counts it once.
        stream: Answer in events.
        counting: Nothing is drawn: the prompts are counted, and each answer says how many tokens its prompt has.
        params: What the interface calls fields of a job, where the names differ.
        ignored: Fields that were given and change nothing.
        headers: Of the answer.
        body: As it was read.
    """

    jobs: tuple[Job, ...]
    body: Any
    context: Context
    stream: bool = False
    counting: bool = False
    prompt_of: tuple[int, ...] = (0,)
    params: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Call:
    """A tool that an answer calls; ``arguments`` is JSON text."""

    name: str
    arguments: str


@final
@dataclass(frozen=True, kw_only=True)
class JobAnswer:
    """All that one job came to.

    Attributes:
        parts: In order; neighbours of one kind are one part.
        tokens: Where log-probabilities were asked for.
        text_tokens: Those of the text alone.
    """

    accepted: Accepted
    ended: Ended
    parts: tuple[Part, ...] = ()
    tokens: tuple[Token, ...] = ()
    text_tokens: tuple[Token, ...] = ()

    @cached_property
    def text(self) -> str:
        """What it says, without thoughts and calls."""
        return "".join(part.text for part in self.parts if part.kind == "text")

    @cached_property
    def thought(self) -> str:
        """What was thought."""
        return "".join(part.text for part in self.parts if part.kind == "thought")

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """The tools it calls."""
        calls: list[Call] = []
        for part in self.parts:
            if part.kind == "call":
                calls.append(Call(part.text, ""))
            elif part.kind == "arguments":
                calls[-1] = Call(calls[-1].name, calls[-1].arguments + part.text)
        return tuple(calls)


@final
@dataclass(frozen=True)
class Totals:
    """Tokens of all answers of a request.

    Attributes:
        num_dropped: Drawn by models whose answers were not kept; in no other count.
    """

    num_prompt_tokens: int
    num_cached: int
    num_tokens: int
    num_thought_tokens: int
    num_dropped: int = 0


def totals(prompt_of: Sequence[int], ends: Sequence[tuple[Accepted, Ended]]) -> Totals:
    """What a request used; a prompt that several answers were drawn from counts once.

    Args:
        prompt_of: Which prompt each answer is to.
        ends: How each answer began and ended.
    """
    first = {prompt: accepted for prompt, (accepted, _) in reversed(list(zip(prompt_of, ends, strict=True)))}
    return Totals(
        sum(accepted.num_prompt_tokens for accepted in first.values()),
        sum(accepted.num_cached for accepted in first.values()),
        sum(ended.num_tokens for _, ended in ends),
        sum(ended.num_thought_tokens for _, ended in ends),
        sum(accepted.num_dropped for accepted, _ in ends),
    )


def id_stem(context: Context) -> str:
    """What the ids of an answer and of its parts are made of: short and plain, whatever id the request brought."""
    given = context.request_id.removeprefix("req_")
    return given if given.isascii() and given.isalnum() and len(given) <= 32 else digest(given)[-24:]


def answering_name(context: Context, accepted: Accepted) -> str:
    """What an answer says of who gave it: the name that was asked for, or that of the model which it chose."""
    return context.name if accepted.answered_by is None else accepted.answered_by.name


def fingerprint(context: Context, accepted: Accepted) -> str:
    """The first digits of the digest of the bytes that answer."""
    model = accepted.answered_by or context.model
    return f"fp_{model.digest.removeprefix('sha256:')[:16]}"


class StreamWriter(Protocol):
    """Writes one answer as events; every method gives framed bytes (:mod:`spiritsafe.serve.answers.sse`)."""

    def event(self, index: int, event: Accepted | AnswerPiece | Ended) -> bytes:
        """What a job's event comes to, b"" where that is nothing. Each job ends with its ``Ended``."""
        ...

    def closing(self) -> bytes:
        """Behind the end of the last job."""
        ...

    def failure(self, refusal: Refusal) -> bytes:
        """Instead of the rest."""
        ...


class Interface(Protocol):
    """One way to ask, known by its path."""

    @property
    def path(self) -> str:
        """Such as ``/v1/chat/completions``."""
        ...

    @property
    def summary(self) -> str:
        """For the OpenAPI document, in a line."""
        ...

    @property
    def request(self) -> type[RequestBody]:
        """What its bodies look like."""
        ...

    @property
    def answer(self) -> type[BaseModel]:
        """What its whole answers look like, for the OpenAPI document."""
        ...

    def read(self, body: Any, context: Context) -> Ask:
        """The jobs of a request.

        Args:
            body: An instance of :attr:`request`.

        Raises:
            Refusal: Something cannot be had.
        """
        ...

    def whole(self, ask: Ask, answers: Sequence[JobAnswer]) -> Mapping[str, object]:
        """The answer in one piece."""
        ...

    def stream(self, ask: Ask) -> StreamWriter:
        """Who writes the answer in events."""
        ...

    def failure(self, refusal: Refusal, request_id: str) -> Mapping[str, object]:
        """The body of a refusal."""
        ...
