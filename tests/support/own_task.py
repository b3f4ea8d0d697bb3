"""A task of somebody's own, as the documents show one; written into a folder by who wants to change it."""

from __future__ import annotations

from pathlib import Path

SOURCE = """
from spiritsafe.core.records import Message, Problem
from spiritsafe.tasks import Draft, Task, ValueVerifier


class Successors(Task):
    def __init__(self):
        super().__init__(name="successors", version="1", verifier=ValueVerifier())

    def _candidates(self, seed, *, exam):
        for n in range(seed, seed + 2000):
            yield Draft(str(n), lambda n=n: Problem(
                task=self.name, canonical_text=str(n), facts={"answer": str(n + 1)},
                messages=(Message(role="user", content=f"What comes after {n}?"),)))


def make():
    return Successors()


TASK = Successors()
NUMBER = 3


def needs(argument):
    return Successors()


def fails():
    raise KeyError("the key")
"""


def write_own_task(folder: Path, name: str = "successors_task", more: str = "") -> Path:
    """The module, with more behind it."""
    path = folder / f"{name}.py"
    path.write_text(SOURCE + more, "utf-8")
    return path
