"""Ancestry: which models a model was made from, however far back, and as what each of them is used in it.

Uses compose along a chain. What a model holds, it holds with all that is in it, so the uses behind weights stay what
they are: weights of weights are weights, and weights that learnt somebody's outputs carry that use along. What a model
learnt from outputs, logits or hidden states of another one, it learnt from all that the other one was made of: the
outputs of a model with Llama's weights are outputs of Llama, and a model that learnt from a student of Gemma has
learnt, at second hand, from Gemma. So the use that is nearest to the ancestor counts, except that weights take on the
use through which they are reached:

    compose(weights, use) = use        compose(signal, weights) = signal        compose(signal, other) = other

Texts differ on how far they reach (Gemma's and DeepSeek's name students of derivatives, Llama's "outputs or results");
the widest reading is taken for all, so that no duty is lost by way of a model in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import final

from spiritsafe.core.records import Checkpoint, ModelUse, Parent


def compose(first: ModelUse, second: ModelUse) -> ModelUse:
    """As what a grandparent is used, whose child is used as ``first`` and was made with it as ``second``."""
    return first if second == "weights" else second


@final
@dataclass(frozen=True, kw_only=True)
class Ancestor:
    """A model that another one was made from, or that one itself.

    Attributes:
        statements: What is said of its licence; none where models inside it say it all.
        names: What it is called, where nothing is known of what it was made from: names tell of licences.
        granted: The permission that its licence asks for.
        learners: By each use, the models that learnt from it or from what has its weights.
    """

    digest: str
    name: str
    statements: tuple[str, ...]
    names: tuple[str, ...]
    granted: str | None
    learners: Mapping[ModelUse, tuple[str, ...]]


class Ancestry:
    """A model and everything that is known of what it was made from.

    Args:
        lineage: The model first; then, in any order, whatever is known of its ancestors.
    """

    def __init__(self, lineage: Iterable[Checkpoint]) -> None:
        entries = list(lineage)
        self.model = entries[0]
        self._entries: dict[str, list[Checkpoint]] = {}  # training that changed nothing leaves two of one digest
        self._mentions: dict[str, list[Parent]] = {}
        for entry in entries:
            self._entries.setdefault(entry.digest, []).append(entry)
            for parent in entry.parents:
                self._mentions.setdefault(parent.digest, []).append(parent)

    def inside(self, digest: str) -> tuple[str, ...]:
        """The models whose weights a model holds, itself first."""
        found: dict[str, None] = {}
        left = [digest]
        while left:
            at = left.pop()
            if at not in found:
                found[at] = None
                left += [parent.digest for parent in self._parents(at) if "weights" in parent.used_as]
        return tuple(found)

    def ancestors(self) -> list[Ancestor]:
        """The model and all behind it, each once."""
        learners: dict[str, dict[ModelUse, dict[str, None]]] = {}
        seen: set[tuple[str, ModelUse, str]] = set()
        left: list[tuple[str, ModelUse, str]] = [(self.model.digest, "weights", self.model.digest)]
        while left:
            state = left.pop()
            if state in seen:
                continue
            seen.add(state)
            digest, use, learner = state
            learners.setdefault(digest, {}).setdefault(use, {})[learner] = None
            for parent in self._parents(digest):
                left += [
                    (parent.digest, compose(use, used), learner if used == "weights" else digest)
                    for used in parent.used_as
                ]
        return [
            self._ancestor(digest, {use: tuple(names) for use, names in uses.items()})
            for digest, uses in learners.items()
        ]

    def statements(self, digest: str) -> tuple[str, ...]:
        """What is said of a model's licence, by itself and by its children."""
        return tuple(dict.fromkeys(record.license for record in self._records(digest)))

    def root_names(self, digest: str) -> tuple[str, ...]:
        """What a model is called of which nothing says what it was made from; none of others."""
        return () if self._parents(digest) else self._names(digest)

    def _names(self, digest: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(record.name for record in self._records(digest)))

    def _records(self, digest: str) -> list[Checkpoint | Parent]:
        return [*self._entries.get(digest, ()), *self._mentions.get(digest, ())]

    def _parents(self, digest: str) -> list[Parent]:
        """Other models that one was made from: a copy is its own parent. Of whom no use is told, the weights are."""
        entries = self._entries.get(digest, ())
        parents = [parent for entry in entries for parent in entry.parents if parent.digest != digest]
        return [one if one.used_as else one.model_copy(update={"used_as": ("weights",)}) for one in parents]

    def _ancestor(self, digest: str, learners: Mapping[ModelUse, tuple[str, ...]]) -> Ancestor:
        # A made model bears the licence of what it began with: it is told there. Another one is told beside it.
        within = {
            said
            for one in self.inside(digest)[1:]
            if digest not in self.inside(one)  # in a circle, which is forged, nobody speaks for another
            for said in self.statements(one)
        }
        granted = (record.license_granted for record in self._records(digest))
        return Ancestor(
            digest=digest,
            name=self._names(digest)[0],
            statements=tuple(said for said in self.statements(digest) if said not in within),
            names=self.root_names(digest),
            granted=next((said for said in granted if said is not None), None),
            learners=learners,
        )
