"""Merging weights: one tensor of each of several models of one base becomes one tensor.

In: a tensor of the base, the same tensor of every model, weights and densities. Out: the merged tensor in float32,
whatever the inputs are stored in. A model's *change* is what it differs by from the base ("task vector").

    linear           sum_i w_i m_i / sum_i w_i                                     (model soups, arXiv 2203.05482)
    task-arithmetic  base + lambda sum_i w_i c_i,  c_i = m_i - base                (arXiv 2212.04089)
    ties             trim each c_i, elect a sign, mean of those that have it       (arXiv 2306.01708)
    dare             drop entries of each c_i at random, rescale the others        (arXiv 2311.03099)
    dare-ties        dare, then ties' election and mean

Nothing here sums over more than a few models, entry by entry, so every machine comes to the same bits. Shapes: any;
N is the number of entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, final

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from spiritsafe.core.records import Record
from spiritsafe.core.seeds import derive_seed

MergeMethod = Literal["linear", "task-arithmetic", "ties", "dare", "dare-ties"]
"""How several models become one."""

SPARSE_METHODS: tuple[MergeMethod, ...] = ("ties", "dare", "dare-ties")
"""Those that keep a part of each change."""
RANDOM_METHODS: tuple[MergeMethod, ...] = ("dare", "dare-ties")
"""Those in which chance decides which part."""
_ELECTING: tuple[MergeMethod, ...] = ("ties", "dare-ties")
_DRAWN_AT_ONCE = 1 << 22


@final
class MergeSettings(Record):
    """How models are merged, with every default in its place; weights and densities in the order of the models.

    Attributes:
        weights: Of each model.
        densities: The share of each model's change that is kept; 1 where the method keeps all.
        normalize: Divide by the sum of the weights: of all models, or, where a sign is elected, of those that have it.
        scale: What the merged change is multiplied by, MergeKit's ``lambda``.
        seed: Of what is dropped.
    """

    method: MergeMethod
    weights: tuple[float, ...] = Field(min_length=1)
    densities: tuple[float, ...]
    normalize: bool
    scale: float = 1.0
    seed: int = 0

    @model_validator(mode="after")
    def _can_be_computed(self) -> MergeSettings:
        if len(self.densities) != len(self.weights):
            raise ValueError("as many densities as weights")
        if not all(0.0 < density <= 1.0 for density in self.densities):
            raise ValueError("a density is more than 0 and at most 1")
        if self.is_electing and min(self.weights) <= 0.0:
            raise ValueError(f"weights are more than 0 in {self.method}, where models vote on a sign by them")
        if self.normalize and abs(sum(self.weights)) < 1e-6:
            raise ValueError("the weights add up to 0, so nothing can be divided by their sum: set normalize = false")
        return self

    @property
    def is_electing(self) -> bool:
        """Whether a sign is elected for every entry."""
        return self.method in _ELECTING


def merge_tensors(name: str, base: Tensor | None, tensors: Sequence[Tensor], settings: MergeSettings) -> Tensor:
    """One tensor of the merged model, in float32.

    Args:
        name: Of the tensor: chance is its own for each tensor and model.
        base: None for "linear", which knows none.
        tensors: Of the models; each is read when its turn comes.

    Raises:
        ValueError: A base is given to "linear", or missing for another method.
    """
    if (base is None) != (settings.method == "linear"):
        raise ValueError(f"{settings.method}: a base is for every method but linear")
    if base is None:
        return _weighted_sum(tensors, settings)
    whole = base.float()
    changes = _changes(name, whole, tensors, settings)
    merged = elected_mean(list(changes), settings) if settings.is_electing else _weighted_sum(changes, settings)
    return whole + merged * settings.scale


def _weighted_sum(tensors: Sequence[Tensor] | Iterator[Tensor], settings: MergeSettings) -> Tensor:
    total: Tensor | None = None
    for tensor, weight in zip(tensors, settings.weights, strict=True):
        part = tensor.float() * weight
        total = part if total is None else total.add_(part)
    if total is None:
        raise ValueError("at least one model is merged")
    return total.div_(sum(settings.weights)) if settings.normalize else total


def _changes(name: str, base: Tensor, tensors: Sequence[Tensor], settings: MergeSettings) -> Iterator[Tensor]:
    """What is kept of each model's change, one after the other."""
    for place, (tensor, density) in enumerate(zip(tensors, settings.densities, strict=True)):
        change = tensor.float() - base
        if settings.method in RANDOM_METHODS:
            yield dropped(change, density, derive_seed(settings.seed, name, place))
        elif settings.method in SPARSE_METHODS:
            yield trimmed(change, density)
        else:
            yield change


def trimmed(change: Tensor, density: float) -> Tensor:
    """The share of entries with the largest magnitudes, 0 elsewhere (arXiv 2306.01708, algorithm 1, step 1).

    At least one is kept; of equal magnitudes the earlier ones.
    """
    count = max(1, int(density * change.numel()))
    if count >= change.numel():
        return change
    size_N = change.abs().flatten()
    place = change.numel() - count
    least = float(np.partition(size_N.numpy(), place)[place])  # four times as fast as torch's kthvalue
    if least == 0.0:
        return change  # all that is not 0 is kept
    keep_N = size_N > least
    equal = (size_N == least).nonzero().flatten()
    keep_N[equal[: count - int(keep_N.sum())]] = True
    return change * keep_N.view_as(change)


def dropped(change: Tensor, density: float, seed: int) -> Tensor:
    """Each entry kept with this probability and divided by it, else 0: the same on average (arXiv 2311.03099, eq. 2).

    PCG64's raw stream is the same in every version of numpy and on every machine.
    """
    if density == 1.0:
        return change
    stream, bound = np.random.PCG64(seed), np.uint64(density * 2.0**64)
    keep_N = np.empty(change.numel(), dtype=np.bool_)
    for start in range(0, len(keep_N), _DRAWN_AT_ONCE):  # drawing all at once would take as much as the change
        part = keep_N[start : start + _DRAWN_AT_ONCE]
        part[:] = stream.random_raw(len(part)) < bound
    return change / density * torch.from_numpy(keep_N).view_as(change)


def elected_mean(changes: Sequence[Tensor], settings: MergeSettings) -> Tensor:
    """The sign that most weighs, and the weighted mean of the changes that have it (arXiv 2306.01708, steps 2 and 3).

    Entries that are 0 have no sign: they neither vote nor count. At a draw the sign is plus. Without ``normalize`` it
    is their weighted sum.
    """
    votes = torch.zeros_like(changes[0])
    for change, weight in zip(changes, settings.weights, strict=True):
        votes.add_(change * weight)
    sign = torch.where(votes >= 0, 1.0, -1.0)
    total, weight_sum = torch.zeros_like(votes), torch.zeros_like(votes)
    for change, weight in zip(changes, settings.weights, strict=True):
        agrees = change * sign > 0
        total.add_(change * weight * agrees)
        weight_sum.add_(agrees * weight)
    return total / torch.where(weight_sum == 0, 1.0, weight_sum) if settings.normalize else total
