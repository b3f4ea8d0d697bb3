"""A task that a model without any knowledge gets right now and then, so that rewards differ within a group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

from spiritsafe.core.records import Problem, Verdict
from spiritsafe.tasks import Draft, Task, Verifier, load_task

__all__ = ["EasyTask"]


@final
class EvenVerifier(Verifier):
    """Right is what has an even number of characters; nothing is what has none."""

    name = "even"
    version = "1"
    isolated = False

    def judge(self, problem: Problem, text: str) -> Verdict:
        if not text:
            return self.verdict("unparsed")
        return self.verdict("wrong" if len(text) % 2 else "correct", answer=text)


@final
class EasyTask(Task):
    """Sums, graded by the length of the answer."""

    def __init__(self, spec: str) -> None:
        self._sums = load_task(spec)
        super().__init__(name=self._sums.name, version=self._sums.version, verifier=EvenVerifier())

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        return self._sums._candidates(seed, exam=exam)
