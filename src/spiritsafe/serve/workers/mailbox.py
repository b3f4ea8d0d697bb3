"""What one job was told and nobody has read yet.

In: events as they come from the pipe. Out: records, when somebody asks. Somebody who reads slowly gets the same answer
in fewer and larger pieces, so that what waits is bounded by the answer's length.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any, final

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.serving import Accepted, AnswerPiece, Ended, Failed, JobEvent

_KINDS: Mapping[str, type[Accepted | AnswerPiece | Ended | Failed]] = {
    "accepted": Accepted,
    "piece": AnswerPiece,
    "ended": Ended,
    "failed": Failed,
}
_MOST_WAITING = 64
"""Pieces that wait before they are joined."""

RawPiece = Mapping[str, Any]


def join_pieces(pieces: list[RawPiece]) -> RawPiece:
    """Several pieces as one; neighbours of a kind become one part, each call begins anew."""
    parts: list[dict[str, Any]] = []
    texts: list[list[str]] = []
    for piece in pieces:
        for part in piece.get("parts", ()):
            if parts and parts[-1]["kind"] == part["kind"] != "call":
                texts[-1].append(part["text"])
            else:
                parts.append({"kind": part["kind"]})
                texts.append([part["text"]])
    return {
        "parts": [{**part, "text": "".join(text)} for part, text in zip(parts, texts, strict=True)],
        "num_tokens": sum(piece.get("num_tokens", 1) for piece in pieces),
        "tokens": [token for piece in pieces for token in piece.get("tokens", ())],
    }


@final
class Mailbox:
    """Events of one job, for one reader.

    Args:
        job_id: The job's number.
    """

    def __init__(self, job_id: int) -> None:
        self.job_id = job_id
        self._waiting: deque[tuple[str, RawPiece]] = deque()
        self._num_last = 0
        self._filled = asyncio.Event()

    def put(self, name: str, value: RawPiece) -> None:
        """An event has come."""
        self._num_last = self._num_last + 1 if name == "piece" else 0
        self._waiting.append((name, value))
        if self._num_last > _MOST_WAITING:
            self._join()
        self._filled.set()

    def _join(self) -> None:
        """The newest pieces as one; what was joined before is not taken apart again until as much has come."""
        pieces = [self._waiting.pop()[1] for _ in range(min(self._num_last, len(self._waiting)))]
        self._waiting.append(("piece", join_pieces(pieces[::-1])))
        self._num_last = 0

    async def get(self) -> tuple[str, RawPiece]:
        """The next event, as it came."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        return self._waiting.popleft()

    async def record(self) -> JobEvent:
        """The next event of an answer.

        Raises:
            IntegrityError: It is none.
        """
        name, value = await self.get()
        if name not in _KINDS:
            raise IntegrityError(f"An event {name!r} is none of an answer.", hint="Use one version on both ends.")
        return _KINDS[name].from_json(value)
