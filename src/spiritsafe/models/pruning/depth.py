"""Cutting depth: which layers matter least, and a smaller model without them.

In: a Decoder, calibration documents and a budget. Out: the layers to keep and a plain Hugging Face directory holding
them, with its parent in the lineage. Shapes: N tokens, H hidden width.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import Tensor
from torch.nn import functional

from spiritsafe.core.errors import BudgetError, NumericalError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.atomic import read_json, write_json
from spiritsafe.core.records import Checkpoint
from spiritsafe.models.chat.format import TOKENIZER_FILES
from spiritsafe.models.checkpoints.directory import new_directory, write_lineage
from spiritsafe.models.checkpoints.lineage import parent_of, read_checkpoint
from spiritsafe.models.checkpoints.tensors import open_shards, read_tensor_table, torch_dtype, write_weights
from spiritsafe.models.cost.footprint import shallower
from spiritsafe.models.decoder.attention import Layout, make_layout
from spiritsafe.models.decoder.head_product import head_logits
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import IGNORED, Document, PackedBatch, pack_documents

_HEAD_ROWS = 256
_LAYER = re.compile(r"(.*\blayers\.)(\d+)(\..*)")


@final
@dataclass(frozen=True, kw_only=True)
class DepthPlan:
    """Which layers stay, and why.

    Attributes:
        keep: Their indices, ascending.
        removed: The others, in the order they were chosen.
        criterion: How they were chosen.
        scores: For each removed layer what its criterion measured: block influence, or the loss without it.
        loss_before: Mean loss on the calibration documents with all layers, nats a supervised token.
        loss_after: The same without the removed ones.
    """

    keep: tuple[int, ...]
    removed: tuple[int, ...]
    criterion: Literal["influence", "loss"]
    scores: tuple[float, ...]
    loss_before: float
    loss_after: float


@final
class Body:
    """A Decoder's blocks over one packed batch, one at a time."""

    def __init__(self, model: Decoder, batch: PackedBatch) -> None:
        self.model = model
        self.batch = batch
        cos_PW, sin_PW = model.rope_tables(max(batch.lengths))
        self._cos_NW, self._sin_NW = cos_PW[batch.position_ids_N], sin_PW[batch.position_ids_N]
        self._layout: Layout = make_layout(batch.lengths, model.device)

    def start(self) -> Tensor:
        """The stream that enters the first block, ``[N, H]``."""
        return self.model.embed(self.batch.token_ids_N)

    def apply(self, layer: int, stream_NH: Tensor) -> Tensor:
        """The stream after one block."""
        out: Tensor = self.model.blocks[layer](stream_NH, self._cos_NW, self._sin_NW, self._layout)
        return out

    def run(self, layers: Sequence[int], stream_NH: Tensor) -> Tensor:
        """The stream after some blocks, in the order given."""
        for layer in layers:
            stream_NH = self.apply(layer, stream_NH)
        return stream_NH

    def loss(self, stream_NH: Tensor) -> float:
        """Summed cross-entropy over the supervised positions, nats."""
        positions = (self.batch.targets_N != IGNORED).nonzero()[:, 0]
        total = 0.0
        for rows in torch.split(positions, _HEAD_ROWS):
            logits_RV = head_logits(self.model.head(), self.model.norm(stream_NH[rows]))
            total += float(functional.cross_entropy(logits_RV, self.batch.targets_N[rows], reduction="sum"))
        return total


def make_bodies(model: Decoder, documents: Sequence[Document], tokens_per_batch: int) -> list[Body]:
    """The documents in packed batches of about ``tokens_per_batch`` tokens, each with the model's blocks."""
    batches: list[list[Document]] = []
    room = 0
    for document in documents:
        if len(document.token_ids) > room or not batches:
            batches.append([])
            room = tokens_per_batch
        batches[-1].append(document)
        room -= len(document.token_ids)
    return [Body(model, pack_documents(batch).to(model.device)) for batch in batches]


def _num_supervised(bodies: Sequence[Body]) -> int:
    count = sum(body.batch.num_supervised for body in bodies)
    if count == 0:
        raise NumericalError(
            "The calibration documents supervise no token, so no loss can be measured on them.",
            hint="Give documents with completions.",
        )
    return count


@torch.no_grad()
def block_influence(
    model: Decoder, documents: Sequence[Document], *, tokens_per_batch: int = 8192
) -> tuple[float, ...]:
    """Block influence of each layer: how far it turns the stream, averaged over tokens.

    ``BI_i = 1 - E[ X_i · X_{i+1} / (|X_i| |X_{i+1}|) ]`` over the rows of the layer's input and output (Men et al.,
    ShortGPT, arXiv 2403.03853, eq. 1).

    Args:
        documents: Calibration text; every token counts, supervised or not.
        tokens_per_batch: Tokens in memory at once.

    Returns:
        One number a layer, 0 for a layer that leaves directions as they are.
    """
    sums = [0.0] * model.num_layers
    bodies = make_bodies(model, documents, tokens_per_batch)
    for body in bodies:
        stream_NH = body.start()
        for layer in range(model.num_layers):
            after_NH = body.apply(layer, stream_NH)
            sums[layer] += float(functional.cosine_similarity(stream_NH.float(), after_NH.float(), dim=-1).sum())
            stream_NH = after_NH
    num_tokens = sum(body.batch.num_tokens for body in bodies)
    return tuple(1.0 - total / num_tokens for total in sums)


@torch.no_grad()
def mean_loss(
    model: Decoder, documents: Sequence[Document], keep: Sequence[int] | None = None, *, tokens_per_batch: int = 8192
) -> float:
    """Mean cross-entropy of the supervised tokens with only some layers, nats.

    Raises:
        NumericalError: No token is supervised.
    """
    bodies = make_bodies(model, documents, tokens_per_batch)
    layers = range(model.num_layers) if keep is None else keep
    return sum(body.loss(body.run(layers, body.start())) for body in bodies) / _num_supervised(bodies)


def choose_layers(
    model: Decoder,
    documents: Sequence[Document],
    num_keep: int,
    *,
    criterion: Literal["influence", "loss"] = "loss",
    num_candidates: int = 8,
    tokens_per_batch: int = 8192,
    events: EventSink | None = None,
) -> DepthPlan:
    """Choose the layers that a model can best do without.

    "influence" drops the layers of least block influence, measured once. "loss" drops one layer at a time, each time
    the one without which the loss on the documents is least. It tries the ``num_candidates`` remaining layers of least
    influence and runs each trial only from the layer after the gap on, from the stream that was kept there.

    Args:
        documents: Calibration documents; their supervised tokens make the loss.
        num_candidates: Layers tried for each removal by "loss"; at least ``model.num_layers`` tries all.
        tokens_per_batch: Tokens in memory at once, times the number of layers for "loss".

    Raises:
        BudgetError: ``num_keep`` is not between 1 and the number of layers.
        NumericalError: No token is supervised.
    """
    if not 1 <= num_keep <= model.num_layers:
        raise BudgetError(
            f"{num_keep} of {model.num_layers} layers cannot be kept.", hint="Keep between 1 and all of them."
        )
    influence = block_influence(model, documents, tokens_per_batch=tokens_per_batch)
    before = mean_loss(model, documents, tokens_per_batch=tokens_per_batch)
    num_remove = model.num_layers - num_keep
    if criterion == "influence":
        removed = sorted(range(model.num_layers), key=influence.__getitem__)[:num_remove]
        scores = [influence[layer] for layer in removed]
    else:
        found = _remove_greedily(
            model, documents, num_remove, influence, num_candidates, tokens_per_batch, events or NullSink()
        )
        removed, scores = [layer for layer, _ in found], [loss for _, loss in found]
    keep = tuple(layer for layer in range(model.num_layers) if layer not in removed)
    return DepthPlan(
        keep=keep,
        removed=tuple(removed),
        criterion=criterion,
        scores=tuple(scores),
        loss_before=before,
        loss_after=mean_loss(model, documents, keep, tokens_per_batch=tokens_per_batch) if num_remove else before,
    )


@torch.no_grad()
def _remove_greedily(
    model: Decoder,
    documents: Sequence[Document],
    num_remove: int,
    influence: Sequence[float],
    num_candidates: int,
    tokens_per_batch: int,
    events: EventSink,
) -> list[tuple[int, float]]:
    bodies = make_bodies(model, documents, tokens_per_batch)
    count = _num_supervised(bodies)
    kept = list(range(model.num_layers))
    removed: list[tuple[int, float]] = []
    while len(removed) < num_remove:
        candidates = sorted(sorted(kept, key=influence.__getitem__)[:num_candidates])
        losses = dict.fromkeys(candidates, 0.0)
        for body in bodies:
            for layer, loss in _losses_without(body, kept, candidates):
                losses[layer] += loss / count
        worst = min(candidates, key=losses.__getitem__)
        kept.remove(worst)
        removed.append((worst, losses[worst]))
        events.progress(len(removed), num_remove, "layers", f"layer {worst} removed, loss {losses[worst]:.3f}")
    return removed


def _losses_without(body: Body, kept: Sequence[int], candidates: Sequence[int]) -> Iterator[tuple[int, float]]:
    """For each candidate the loss without it; the stream in front of it is computed once for all."""
    stream_NH = body.start()
    for place, layer in enumerate(kept):
        if layer in candidates:
            yield layer, body.loss(body.run(kept[place + 1 :], stream_NH))
        if layer == candidates[-1]:
            return
        stream_NH = body.apply(layer, stream_NH)


def cut_depth(source: Path, target: Path, keep: Sequence[int], *, name: str, recipe: str | None = None) -> Checkpoint:
    """Write a model directory that holds only some layers of another, tensor by tensor.

    Args:
        source: The parent's directory, with its lineage.
        target: The child's; it appears when it is whole.
        keep: Layers to keep, ascending, counted from 0.
        recipe: Digest of the recipe that asked for it.

    Raises:
        BudgetError: ``keep`` is empty, not ascending or names a layer that is not there.
        SourceError: The parent is damaged.
        StorageError: The child cannot be written.
    """
    config = read_json(source / "config.json")
    total = int(config["num_hidden_layers"])
    if not keep or list(keep) != sorted(set(keep)) or not 0 <= keep[0] <= keep[-1] < total:
        raise BudgetError(
            f"Layers {list(keep)} cannot be kept of a model with layers 0 to {total - 1}.",
            hint="List them ascending, each once.",
        )
    parent = read_checkpoint(source)
    with new_directory(target) as temporary:
        write_json(temporary / "config.json", shallower(config, keep))
        _copy_weights(source, temporary, keep)
        for file in TOKENIZER_FILES:
            if (source / file).is_file():
                (temporary / file).write_bytes((source / file).read_bytes())
        return write_lineage(
            temporary, name=name, license=parent.license, parents=(parent_of(parent, "weights"),), recipe=recipe
        )


def _copy_weights(source: Path, target: Path, keep: Sequence[int]) -> None:
    table = read_tensor_table(source)
    place = {layer: index for index, layer in enumerate(keep)}
    origin: dict[str, str] = {}
    for name in table:
        match = _LAYER.match(name)
        if match is None:
            origin[name] = name
        elif int(match[2]) in place:
            origin[f"{match[1]}{place[int(match[2])]}{match[3]}"] = name
    handles = open_shards(source)

    def produce(name: str) -> Tensor:
        handle: Any = handles[table[origin[name]].file]
        tensor: Tensor = handle.get_tensor(origin[name])
        return tensor

    layout = [(name, torch_dtype(table[origin[name]].dtype), table[origin[name]].shape) for name in sorted(origin)]
    write_weights(target, layout, produce)
