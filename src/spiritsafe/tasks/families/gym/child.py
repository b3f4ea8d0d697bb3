"""Runs reasoning-gym inside a child process: makes items and scores answers.

In: payloads ``{"op": "describe" | "item" | "score", …}``. Out: JSON values. An item is a function of its seed alone:
Python's and NumPy's global streams are seeded with it too, because some generators draw from them, and the child's hash
seed is fixed.

An entry's metadata never travels: scoring makes the item again from its seed, and refuses when question or answer came
out differently (another version of the library).
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import random
from collections import OrderedDict
from typing import Any, final

import numpy as np
from reasoning_gym.factory import DATASETS, create_dataset

from spiritsafe.tasks.families.gym.catalogue import EVALUATING
from spiritsafe.tasks.families.gym.solutions import worked_solution

_CACHE_ENTRIES = 4096
_DATASET_SIZE = 5
"""Some families make all their items at once; five keep their mixture of kinds (3 : 1 : 1 in acre), and are cheap."""
_SCALARS = (bool, int, float, str)

_MAX_EVALUATED = 1_000
_UNREADABLE: dict[str, type[Exception]] = {"prime_factorization": ValueError}
"""Families whose ``score_answer`` raises when it cannot read the text: the text's fault, not the scorer's."""


def _face(entry: dict[str, Any]) -> tuple[Any, Any]:
    return entry["question"], entry["answer"]


@final
class GymHandler:
    """One family with its parameters."""

    def __init__(self, name: str, parameters: dict[str, Any]) -> None:
        self._name = name
        self._parameters = {
            key: tuple(value) if isinstance(value, list) and self._wants_tuple(key) else value
            for key, value in parameters.items()
        }
        self._dataset: Any = None
        self._reseeds: bool | None = None
        self._entries: OrderedDict[int, dict[str, Any]] = OrderedDict()

    def __call__(self, payload: dict[str, Any]) -> Any:
        """Dispatch one payload."""
        match payload["op"]:
            case "describe":
                return self._describe()
            case "item":
                entry = self._entry(payload["seed"])
                question, answer = entry["question"], entry["answer"]
                if not isinstance(question, str) or not isinstance(answer, str):
                    raise TypeError(f"the item's answer is a {type(answer).__name__}, not a text")
                return {"question": question, "answer": answer, "solution": worked_solution(self._name, entry)}
            case "score":
                return self._score(payload)
        raise ValueError(f"unknown operation {payload['op']!r}")

    def _wants_tuple(self, key: str) -> bool:
        fields = {field.name: field for field in dataclasses.fields(DATASETS[self._name][1])}
        return isinstance(fields[key].default, tuple)

    def _describe(self) -> dict[str, Any]:
        """Known families, and this family's parameters with their defaults (None: has no plain form)."""
        parameters: dict[str, Any] = {}
        if self._name in DATASETS:
            config = DATASETS[self._name][1]()
            for field in dataclasses.fields(config):
                value = getattr(config, field.name)
                if field.name in ("seed", "size"):
                    continue
                plain = isinstance(value, _SCALARS) and not hasattr(type(value), "__members__")
                listed = isinstance(value, (list, tuple)) and all(isinstance(item, _SCALARS) for item in value)
                parameters[field.name] = value if plain else list(value) if listed else None
        version = importlib.metadata.version("reasoning-gym")
        return {"families": sorted(DATASETS), "parameters": parameters, "version": version}

    def _fresh(self, seed: int) -> Any:
        return create_dataset(self._name, seed=seed, size=_DATASET_SIZE, **self._parameters)

    def _make(self, seed: int, *, fresh: bool) -> dict[str, Any]:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        if fresh:
            dataset = self._fresh(seed)
        else:
            dataset = self._dataset
            dataset.seed = seed
        entry: dict[str, Any] = dataset[0]
        return entry

    def _entry(self, seed: int) -> dict[str, Any]:
        """The item of a seed. One data set object is kept and reseeded where that gives the same items as a new one."""
        if seed in self._entries:
            return self._entries[seed]
        if self._dataset is None:
            self._dataset = self._fresh(seed)
        if self._reseeds is None:
            checks = [(seed + offset) % 2**32 for offset in (1, 2, 3)]
            fresh = [self._make(check, fresh=True) for check in checks]
            self._reseeds = [_face(entry) for entry in fresh] == [_face(self._make(c, fresh=False)) for c in checks]
        entry = self._make(seed, fresh=not self._reseeds)
        self._entries[seed] = entry
        if len(self._entries) > _CACHE_ENTRIES:
            self._entries.popitem(last=False)
        return entry

    def _score(self, payload: dict[str, Any]) -> list[float]:
        """Scores of candidate answers, in order, up to the first full score."""
        entry = self._entry(payload["seed"])
        if entry["answer"] != payload["gold"] or entry["question"] != payload["question"]:
            raise ValueError("this version of reasoning-gym makes another problem from the same seed")
        scorer = self._dataset if self._reseeds else self._fresh(payload["seed"])
        scores: list[float] = []
        broken: Exception | None = None
        guard = EVALUATING.get(self._name)
        for candidate in payload["candidates"]:
            if guard and (len(candidate) > _MAX_EVALUATED or not guard.fullmatch(candidate)):
                scores.append(0.0)
                continue
            try:
                scores.append(float(scorer.score_answer(candidate, entry)))
            except Exception as error:  # noqa: BLE001  other spellings may still be read; raised below if none is
                scores.append(0.0)
                if not isinstance(error, _UNREADABLE.get(self._name, ())):
                    broken = error
            if scores[-1] >= 1.0:
                return scores
        if broken:
            raise broken
        return scores
