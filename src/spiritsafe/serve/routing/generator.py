"""A router as a :class:`~spiritsafe.core.generator.Generator`: exams, collections and measurements ask it like a model.

In: a routed system and who opens its models. Out: attempts, each drawn by the model that the router picks from the
prompt's messages alone, exactly as that model draws it when it is asked itself; they bear the system's digest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import final

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.generator import Generator, GeneratorInfo, Located
from spiritsafe.core.process.platforms import Platform
from spiritsafe.core.records import Attempt, Message, Prompt, Sampling
from spiritsafe.serve.routing.system import RoutedSystem


@final
class RoutedGenerator:
    """Several models that answer as one.

    One model is in memory at a time: what the largest takes is enough, whatever there are. So the prompts of a call are
    put together by model, each model is opened once a call at most, and the last one stays open for the next.

    Args:
        system: The router and its models, all of them verified.
        open_model: Makes the Generator of a model, by its name and its directory.
    """

    def __init__(self, system: RoutedSystem, open_model: Callable[[str, Path], Generator]) -> None:
        self._system = system
        self._open_model = open_model
        self._open: tuple[int, Generator] | None = None

    def describe(self) -> GeneratorInfo:
        """The system. Tokens and log-probabilities are of several models, so nobody may go by them."""
        checkpoint = self._system.checkpoint
        return GeneratorInfo(name=checkpoint.name, digest=checkpoint.digest, kind="local")

    def platform(self) -> Platform | None:
        """What computes the answers of its first model; all of them are on this machine."""
        generator = self._generator(0)
        return generator.platform() if isinstance(generator, Located) else None

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        """Each prompt's samples, by the model that the router picks for it.

        Raises:
            SpiritsafeError: Whatever that model's Generator raises.
        """
        for rung, mine in self._by_rung(prompts):
            yield from self._drawn(rung, mine, sampling)

    def score(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """Refused.

        Raises:
            CompatibilityError: Always.
        """
        raise CompatibilityError(
            f"{self._system.checkpoint.name} asks several models, each of which has probabilities of its own.",
            hint=f"Score with one of them: {', '.join(rung.name for rung in self._system.router.rungs)}.",
        )

    def close(self) -> None:
        """Close the model that is open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _by_rung(self, prompts: Sequence[Prompt]) -> list[tuple[int, list[Prompt]]]:
        """The prompts of each rung that has some; first those of the model that is open."""
        found: dict[int, list[Prompt]] = {}
        for prompt in prompts:
            found.setdefault(self._system.router.pick(prompt.messages), []).append(prompt)
        is_open = -1 if self._open is None else self._open[0]
        return sorted(found.items(), key=lambda item: (item[0] != is_open, item[0]))

    def _generator(self, rung: int) -> Generator:
        if self._open is None or self._open[0] != rung:
            self.close()
            name = self._system.router.rungs[rung].name
            self._open = rung, self._open_model(name, self._system.directories[rung])
        return self._open[1]

    def _drawn(self, rung: int, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        digest = self._system.checkpoint.digest
        for attempt in self._generator(rung).generate(prompts, sampling):
            yield attempt.model_copy(update={"model": digest})
