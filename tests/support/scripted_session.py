"""A session of the engine without an engine: what each sequence draws is written beforehand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from spiritsafe.models.running.engine.request import Drawn, SequenceRequest

__all__ = ["ScriptedSession"]


@dataclass
class ScriptedSession:
    """Draws ``script(request)`` for each sequence, ``stride`` tokens a step, ``num_slots`` sequences at once."""

    script: Callable[[SequenceRequest], Sequence[int]]
    num_slots: int = 64
    stride: int = 1
    fails: deque[Exception] = field(default_factory=deque)
    requests: list[SequenceRequest] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    num_steps: int = 0

    def __post_init__(self) -> None:
        self._queue: deque[tuple[int, SequenceRequest, list[int]]] = deque()
        self._busy: dict[int, tuple[SequenceRequest, list[int], int]] = {}

    @property
    def num_busy(self) -> int:
        return len(self._busy)

    @property
    def num_waiting(self) -> int:
        return len(self._queue)

    def submit(self, request: SequenceRequest) -> int:
        self.requests.append(request)
        handle = len(self.requests)
        self._queue.append((handle, request, list(self.script(request))))
        return handle

    def cancel(self, handle: int) -> None:
        self.cancelled.append(handle)
        self._queue = deque(one for one in self._queue if one[0] != handle)
        self._busy.pop(handle, None)

    def step(self) -> list[Drawn]:
        self.num_steps += 1
        if self.fails:
            raise self.fails.popleft()
        while self._queue and len(self._busy) < self.num_slots:
            handle, request, ids = self._queue.popleft()
            self._busy[handle] = (request, ids, 0)
        out = []
        for handle, (request, ids, done) in list(self._busy.items()):
            new = ids[done : min(done + self.stride, request.max_tokens)]
            end = next((place for place, token in enumerate(new) if token in request.end_ids), None)
            new = new if end is None else new[: end + 1]
            done += len(new)
            reason = "stop" if end is not None else "length" if done >= min(len(ids), request.max_tokens) else None
            if reason:
                del self._busy[handle]
            else:
                self._busy[handle] = (request, ids, done)
            num_top = request.top_logprobs
            top = tuple(tuple((token + n, -0.5 - n) for n in range(num_top)) for token in new) if num_top else ()
            out.append(Drawn(handle, tuple(new), tuple(-0.5 for _ in new), top, reason, num_cached=3))
        return out

    def score(self, token_ids: tuple[int, ...], top_logprobs: int) -> Iterator[Drawn]:
        for token in token_ids[1:]:
            top = (((token, -0.25),) * top_logprobs,) if top_logprobs else ()
            yield Drawn(-1, (token,), (-0.25,), top)
