"""An engine without a model: it answers jobs as a test tells it to, and remembers what it was asked.

``FakeEngine(script)``: the script maps a job to the events behind :class:`Accepted`. :func:`says` and its kin write
scripts. ``engine.jobs`` are the jobs that came; ``engine.hold()`` stops every answer after its first piece until
``engine.release()``; ``await engine.idle()`` returns when no job runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from spiritsafe.core.serving import (
    Accepted,
    AnswerPiece,
    Ended,
    EndReason,
    Failed,
    Job,
    JobEvent,
    LikelyToken,
    Part,
    ServedModel,
    Token,
)

Script = Callable[[Job], Iterable[JobEvent]]

DIGEST = "sha256:" + "ab" * 32


def served_model(name: str = "fake", **changed: object) -> ServedModel:
    """What a fake says of itself."""
    fields = {
        "name": name,
        "digest": DIGEST,
        "kind": "weights",
        "context": 512,
        "max_prompt_bytes": 4096,
        "vocab_size": 1000,
        "shows_tools": True,
        "thinks": True,
    }
    return ServedModel.model_validate(fields | changed)


def says(*words: str, thought: Sequence[str] = (), reason: EndReason = "stop") -> Script:
    """A thought and a text, a piece a word, with log-probabilities where they are asked for."""

    def script(job: Job) -> Iterable[JobEvent]:
        parts = [Part(kind="thought", text=word) for word in thought] + [Part(kind="text", text=word) for word in words]
        for number, part in enumerate(parts):
            tokens = () if job.top_logprobs is None else (_token(part.text, number, job.top_logprobs),)
            yield AnswerPiece(parts=(part,), tokens=tokens)
        yield Ended(reason=reason, num_tokens=len(parts) + 1, num_thought_tokens=len(thought))

    return script


def calls(*called: tuple[str, str], text: str = "") -> Script:
    """Calls of tools: names and arguments, which come in two halves."""

    def script(job: Job) -> Iterable[JobEvent]:
        if text:
            yield AnswerPiece(parts=(Part(kind="text", text=text),))
        for name, arguments in called:
            half = len(arguments) // 2
            yield AnswerPiece(parts=(Part(kind="call", text=name), Part(kind="arguments", text=arguments[:half])))
            yield AnswerPiece(parts=(Part(kind="arguments", text=arguments[half:]),))
        yield Ended(reason="calls", num_tokens=9)

    return script


def fails(failed: Failed, *, after: Sequence[str] = ()) -> Script:
    """Some words, then no more."""

    def script(job: Job) -> Iterable[JobEvent]:
        for word in after:
            yield AnswerPiece(parts=(Part(kind="text", text=word),))
        yield failed

    return script


def _token(text: str, number: int, num_top: int) -> Token:
    def candidate(id_: int, spelled: str, logprob: float) -> LikelyToken:
        return LikelyToken(id=id_, text=spelled, bytes=tuple(spelled.encode()), logprob=logprob)

    top = tuple(candidate(rank, f"{text}{rank}", -0.5 * (rank + 1)) for rank in range(num_top))
    return Token(drawn=candidate(number, text, -0.25), top=top)


class FakeEngine:
    """A :class:`~spiritsafe.core.serving.ServedEngine`."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        model: ServedModel | None = None,
        num_prompt: int = 7,
        answered_by: ServedModel | None = None,
    ) -> None:
        self.script = script or says("Hello", " there", ".")
        self.model = model or served_model()
        self.accepted = Accepted(num_prompt_tokens=num_prompt, num_cached=2, answered_by=answered_by)
        self.jobs: list[Job] = []
        self.num_running = 0
        self.num_events = 0
        self.begun = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()
        self._idle = asyncio.Event()
        self._idle.set()

    async def describe(self) -> ServedModel:
        return self.model

    async def run(self, job: Job) -> AsyncIterator[JobEvent]:
        self.jobs.append(job)
        self.num_running += 1
        self._idle.clear()
        try:
            events = iter(self.script(job))
            first = next(events, None)
            if not isinstance(first, Failed):
                yield self.accepted
            if first is not None:
                self.num_events += 1
                yield first
            self.begun.set()
            for event in events:
                await self._free.wait()
                self.num_events += 1
                yield event
        finally:
            self.num_running -= 1
            if not self.num_running:
                self._idle.set()

    async def count(self, job: Job) -> int | Failed:
        self.jobs.append(job)
        return self.accepted.num_prompt_tokens

    async def close(self) -> None:
        pass

    def hold(self) -> None:
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    async def idle(self) -> None:
        await self._idle.wait()
