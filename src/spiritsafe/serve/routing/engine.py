"""The model ``auto``: a :class:`~spiritsafe.core.serving.ServedEngine` that asks others.

In: a router and the engines of its rungs, by digest. Out: the events of the rung that answers, its
:class:`~spiritsafe.core.serving.Accepted` saying which it was. By prompt, pieces come as the rung draws them. A cascade
holds an answer back until it is whole and its confidence known, and says meanwhile what it took so far; those of the
last rung come as they are drawn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import cast, final

from spiritsafe.core.records import Message
from spiritsafe.core.serving import (
    Accepted,
    AnswerPiece,
    Ended,
    Failed,
    Job,
    JobEvent,
    ServedEngine,
    ServedModel,
    Withheld,
)
from spiritsafe.serve.routing.evidence import confidence_of
from spiritsafe.serve.routing.records import Router, require_served

AUTO = "auto"
_TOO_LONG = "context_length_exceeded"


@final
class RoutedEngine:
    """Asks the rung that a router picks.

    What hangs on one vocabulary cannot be routed and is refused: ``token_ids`` and ``logit_bias``. A rung that cannot
    take a prompt (too long for it, with tools that it does not show, or with a wish about thoughts that it cannot
    follow) or fails before it has said anything is passed over for the next larger one. What rungs drew whose answers
    were not kept is told by ``Accepted.num_dropped``.

    Args:
        router: Decides.
        engines: By digest; they stay their owner's, and :meth:`close` leaves them open.
        name: What it is asked by.
        names: What the models are called here, by digest; None: as they call themselves.

    Raises:
        CompatibilityError: A rung has no engine.
    """

    def __init__(
        self,
        router: Router,
        engines: Mapping[str, ServedEngine],
        *,
        name: str = AUTO,
        names: Mapping[str, str] | None = None,
    ) -> None:
        require_served(router, engines)
        self._router = router
        self._engines = [engines[rung.digest] for rung in router.rungs]
        self._name = name
        self._names = names or {}
        self._models: list[ServedModel] = []

    async def describe(self) -> ServedModel:
        """The router: what any of its rungs can, with its own digest."""
        models = await self._described()
        way = "from the smallest on until one is sure" if self._router.kind == "cascade" else "by the prompt"
        notes = [f"Asks {', '.join(model.name for model in models)}: {way}."]
        if not self._router.is_better:
            notes.append("On dev problems it was no better than tossing a coin between them.")
        return ServedModel(
            name=self._name,
            digest=self._router.content_digest,
            kind="router",
            context=max(model.context for model in models),
            max_prompt_bytes=max(model.max_prompt_bytes for model in models),
            vocab_size=max(model.vocab_size for model in models),
            shows_tools=any(model.shows_tools for model in models),
            thinks=any(model.thinks for model in models),
            switches_thinking=any(model.switches_thinking for model in models)
            or len({model.thinks for model in models}) > 1,
            platform=models[-1].platform,
            notes=tuple(notes),
        )

    async def run(self, job: Job) -> AsyncIterator[JobEvent]:
        """Answer with the rung that the router picks."""
        if refusal := _refusal(job):
            yield refusal
            return
        order = await self._order(job)
        num_dropped = 0
        for place, rung in enumerate(order):
            is_last = place == len(order) - 1
            if self._router.kind == "cascade" and not is_last:
                held: list[JobEvent] = []
                num_drawn = 0
                async with aclosing(self._hold(rung, job, num_dropped, held)) as growing:
                    async for used in growing:
                        num_drawn = used.num_tokens
                        yield used
                if not held or _is_passed_over(held[0]):
                    num_dropped += num_drawn
                    if num_drawn:
                        yield Withheld(accepted=used.accepted.model_copy(update={"num_dropped": num_dropped}))
                    continue
                for event in held:
                    yield event
                return
            async with aclosing(self._of(rung, job, num_dropped)) as events:
                is_answered = False
                async for event in events:
                    if not is_answered and not is_last and _is_passed_over(event):
                        break
                    is_answered = True
                    yield event
            if is_answered:
                return

    async def count(self, job: Job) -> int | Failed:
        """Tokens of the prompt for the rung that is asked first."""
        if refusal := _refusal(job):
            return refusal
        return await self._engines[(await self._order(job))[0]].count(job)

    async def close(self) -> None:
        """Nothing: the engines are their owner's."""

    async def _described(self) -> list[ServedModel]:
        if not self._models:
            models = [await engine.describe() for engine in self._engines]
            self._models = [
                model.model_copy(update={"name": self._names.get(model.digest, model.name)}) for model in models
            ]
        return self._models

    async def _order(self, job: Job) -> list[int]:
        """Places of the rungs that may answer, in the order in which they are asked; never empty."""
        models = await self._described()
        messages = job.messages or (Message(role="user", content=job.text or ""),)
        # its text is as long as who asks likes; other answers go on meanwhile
        pick = await asyncio.to_thread(self._router.pick, messages)
        has_tools = any(message.tools for message in messages)
        texts = (job.prefix, *(message.content for message in messages))
        size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
        able = [
            place
            for place, model in enumerate(models)
            if (model.shows_tools or not has_tools)
            and (job.thinking in (None, model.thinks) or model.switches_thinking)
            and size <= model.max_prompt_bytes
        ]
        # none is: the largest says why
        return [place for place in able if place >= pick] or able[-1:] or [len(models) - 1]

    async def _of(self, rung: int, job: Job, num_dropped: int) -> AsyncGenerator[JobEvent, None]:
        """Events of a rung, as they come."""
        models = await self._described()
        async with aclosing(cast("AsyncGenerator[JobEvent, None]", self._engines[rung].run(job))) as events:
            async for event in events:
                if isinstance(event, Accepted):
                    by = event.answered_by or models[rung]
                    yield event.model_copy(update={"answered_by": by, "num_dropped": event.num_dropped + num_dropped})
                else:
                    yield event

    async def _hold(
        self, rung: int, job: Job, num_dropped: int, held: list[JobEvent]
    ) -> AsyncGenerator[Withheld, None]:
        """What a rung's answer takes, as it grows; then ``held`` has its events, none where it is not kept."""
        told: list[JobEvent] = []
        logprobs: list[float] = []
        used = Withheld(accepted=Accepted(num_prompt_tokens=0))
        is_asked_for = job.top_logprobs is not None
        asked = job if is_asked_for else job.model_copy(update={"top_logprobs": 0})
        async with aclosing(self._of(rung, asked, num_dropped)) as events:
            async for event in events:
                if isinstance(event, Failed):
                    held.append(event)
                    return
                told.append(event)
                if isinstance(event, Accepted):
                    used = Withheld(accepted=event)
                elif isinstance(event, AnswerPiece):
                    used = used.model_copy(update={"num_tokens": used.num_tokens + event.num_tokens})
                    logprobs += [token.drawn.logprob for token in event.tokens if token.drawn.logprob is not None]
                    told[-1] = event if is_asked_for else event.model_copy(update={"tokens": ()})
                elif isinstance(event, Ended):
                    used = used.model_copy(update={"num_tokens": event.num_tokens})
                yield used
                if isinstance(event, Ended):
                    confidence = confidence_of(logprobs, has_ended=event.reason != "length")
                    if not await asyncio.to_thread(self._router.is_enough, rung, confidence):
                        return
        held += told


def _is_passed_over(event: JobEvent) -> bool:
    return isinstance(event, Failed) and (event.fault == "model" or event.code == _TOO_LONG)


def _refusal(job: Job) -> Failed | None:
    """Why a job cannot be routed."""
    for param, is_given in (("token_ids", job.token_ids is not None), ("logit_bias", bool(job.logit_bias))):
        if is_given:
            return Failed(
                fault="asker",
                message=f"{param} names tokens of one model's vocabulary, and several may answer here.",
                hint="Name one of the models instead.",
                param=param,
                code="unsupported",
            )
    return None
