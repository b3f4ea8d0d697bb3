"""A task of somebody's own whose verdict hangs on the length of a text, so that a random model earns every kind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from spiritsafe.core.records import Message, Problem, Verdict
from spiritsafe.tasks import Draft, Task, Verifier


class ParityVerifier(Verifier):
    name = "parity"
    version = "1"
    isolated = False

    def judge(self, problem: Problem, text: str) -> Verdict:
        if text == "hang":
            time.sleep(60)
        if len(text) % 3 == 0:
            raise ValueError("three divides it")
        return self.verdict("correct" if len(text) % 3 == 1 else "wrong", answer=text[:5])


class ParityTask(Task):
    def __init__(self) -> None:
        super().__init__(name="parity:task", version="1", verifier=ParityVerifier())

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        for n in range(1000):
            yield Draft(str(n), lambda n=n: Problem(
                task=self.name, canonical_text=str(n), facts={"answer": "x"},
                messages=(Message(role="user", content=f"Write of {n}."),)))  # fmt: skip


def parity_module() -> str:
    """How other processes find the task."""
    return f"{Path(__file__).stem}:ParityTask"
