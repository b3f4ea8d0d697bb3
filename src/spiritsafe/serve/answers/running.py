"""Running the jobs of a request: all at once, their events in the order in which they come.

In: an engine and jobs. Out: events with the number of their job. Leaving (an error, a caller that went away) closes
every job, which frees its slot in the engine within a step.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import final

from spiritsafe.core.serving import (
    Accepted,
    AnswerPiece,
    Ended,
    Failed,
    Job,
    JobEvent,
    Part,
    ServedEngine,
    Token,
    Withheld,
)
from spiritsafe.serve.interface import JobAnswer

_MOST_AHEAD = 64  # events of jobs that run beside each other, read before the caller takes them


@asynccontextmanager
async def running(engine: ServedEngine, jobs: Sequence[Job]) -> AsyncIterator[AsyncIterator[tuple[int, JobEvent]]]:
    """The events of some jobs; every job is closed when the context is left."""
    if len(jobs) == 1:
        events = _numbered(engine, jobs[0])
        try:
            yield events
        finally:
            await events.aclose()
        return
    queue: asyncio.Queue[tuple[int, JobEvent] | BaseException | None] = asyncio.Queue(_MOST_AHEAD)

    async def forward(index: int, job: Job) -> None:
        try:
            events = _numbered(engine, job, index)
            try:
                async for event in events:
                    await queue.put(event)
            finally:
                await events.aclose()
        except Exception as error:  # noqa: BLE001  the task's boundary: who reads the events raises it
            await queue.put(error)
        await queue.put(None)

    async def merged() -> AsyncIterator[tuple[int, JobEvent]]:
        open_jobs = len(jobs)
        while open_jobs:
            event = await queue.get()
            if event is None:
                open_jobs -= 1
            elif isinstance(event, BaseException):
                raise event
            else:
                yield event

    tasks = [asyncio.create_task(forward(index, job)) for index, job in enumerate(jobs)]
    try:
        yield merged()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _numbered(engine: ServedEngine, job: Job, index: int = 0) -> AsyncGenerator[tuple[int, JobEvent], None]:
    events = engine.run(job)
    try:
        async for event in events:
            yield index, event
            if isinstance(event, Ended | Failed):
                return
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()


@final
class TextTokens:
    """Finds the tokens that spell an answer's text among those of its thoughts and calls.

    Attributes:
        found: So far.
    """

    def __init__(self) -> None:
        self.found: list[Token] = []
        self._open: list[Token] = []  # their text is held back, as it may be the beginning of something else

    def add(self, piece: AnswerPiece) -> None:
        """One more piece."""
        self._open.extend(piece.tokens)
        for part in piece.parts:
            if part.kind == "text":
                self.found.extend(self._open)
            self._open.clear()


@final
class Collector:
    """Gathers the events of one job into an :class:`JobAnswer`.

    Args:
        keep: False: only what is counted; an answer that was streamed is not held a second time.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self.accepted: Accepted | None = None
        self.ended: Ended | None = None
        self._keep = keep
        self._withheld = Withheld(accepted=Accepted(num_prompt_tokens=0))
        self._num_tokens = 0
        self._heads: list[Part] = []
        self._texts: list[list[str]] = []
        self._tokens: list[Token] = []
        self._text_tokens = TextTokens()

    def add(self, event: Withheld | Accepted | AnswerPiece | Ended) -> None:
        """One more event."""
        if isinstance(event, Withheld):
            self._withheld = event
        elif isinstance(event, AnswerPiece):
            self._num_tokens += event.num_tokens
            if self._keep:
                self._add_piece(event)
        elif isinstance(event, Accepted):
            self.accepted = event
        else:
            self.ended = event

    def _add_piece(self, piece: AnswerPiece) -> None:
        self._tokens.extend(piece.tokens)
        self._text_tokens.add(piece)
        for part in piece.parts:
            if self._heads and self._heads[-1].kind == part.kind != "call":
                self._texts[-1].append(part.text)
            else:
                self._heads.append(part)
                self._texts.append([part.text])

    def counted(self) -> tuple[Accepted, Ended]:
        """What was used so far, also of an answer that has not begun or not ended."""
        if self.accepted is None:
            return self._withheld.accepted, Ended(reason="stop", num_tokens=self._withheld.num_tokens)
        return self.accepted, self.ended or Ended(reason="stop", num_tokens=self._num_tokens)

    def answer(self) -> JobAnswer:
        """The whole answer; the job has ended."""
        accepted, ended = self.counted()
        parts = (
            Part(kind=head.kind, text="".join(texts)) for head, texts in zip(self._heads, self._texts, strict=True)
        )
        return JobAnswer(
            accepted=accepted,
            ended=ended,
            parts=tuple(parts),
            tokens=tuple(self._tokens),
            text_tokens=tuple(self._text_tokens.found),
        )
