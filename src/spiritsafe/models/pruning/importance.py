"""What a model can best do without: one calibration pass that scores every part a student may be cut along.

In: a Decoder and calibration documents. Out: an :class:`Importance` with a number for each layer, hidden channel,
feed-forward neuron, key-value group and vocabulary id, kept as one ``.npz`` file with its digest. Shapes: N tokens,
L layers, H hidden width, F feed-forward width, K key-value heads, V vocabulary, J = 2 L + 1 norms (two a layer, in
their order, then the final one).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from spiritsafe.core.canonical import digest_bytes
from spiritsafe.core.errors import CompatibilityError, IntegrityError, NumericalError, SourceError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.atomic import write_bytes
from spiritsafe.models.decoder.module import Block, Decoder
from spiritsafe.models.interface.batch import Document
from spiritsafe.models.pruning.depth import Body, make_bodies


@final
@dataclass(frozen=True, kw_only=True)
class Importance:
    """How much each part of a model does on some documents; float64 unless said otherwise.

    Attributes:
        influence_L: Block influence of each layer (ShortGPT, arXiv 2403.03853, eq. 1).
        channels_H: Mean absolute output of the norms in each channel, over tokens and all J norms (Minitron, arXiv
            2407.14679, §2.2).
        neurons_LF: Mean absolute activation of each feed-forward neuron, ``E|silu(gate) · up|`` (the same section).
        groups_LK: Mean length of what each key-value head's query heads add to the stream together.
        energy_JH: ``E[x² / mean_H(x²)]`` of each norm's input: how the stream's energy spreads over channels. Each
            row sums to H.
        counts_V: int64, how often each token id occurs in the documents.
    """

    influence_L: NDArray[np.float64]
    channels_H: NDArray[np.float64]
    neurons_LF: NDArray[np.float64]
    groups_LK: NDArray[np.float64]
    energy_JH: NDArray[np.float64]
    counts_V: NDArray[np.int64]

    @property
    def num_tokens(self) -> int:
        """Tokens of the calibration documents."""
        return int(self.counts_V.sum())

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` over names, shapes and values."""
        parts = [f"{name}{array.shape};".encode() + array.tobytes() for name, array in self._arrays().items()]
        return digest_bytes(b"".join(parts))

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {field.name: np.ascontiguousarray(getattr(self, field.name)) for field in fields(self)}

    def save(self, path: Path) -> None:
        """Write one ``.npz``, whole or absent.

        Raises:
            StorageError: It cannot be written.
        """
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {"digest": np.array(self.digest), **self._arrays()}
        np.savez(buffer, **arrays)
        write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Importance:
        """Read it back.

        Raises:
            SourceError: The file cannot be read.
            IntegrityError: It is not what was written.
        """
        hint = "Delete it; the calibration pass then runs again."
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}.", hint="Run the calibration pass.") from error
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            written = str(arrays.pop("digest"))
            loaded = cls(**arrays)
        except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise IntegrityError(f"{path} holds no scores of a calibration pass.", hint=hint) from error
        if loaded.digest != written:
            raise IntegrityError(f"{path} was changed after it was written.", hint=hint)
        return loaded


@final
class _Totals:
    """Sums over tokens in float64, filled by hooks while the blocks run."""

    def __init__(self, model: Decoder) -> None:
        c = model.config
        self.influence_L = torch.zeros(c.num_layers, dtype=torch.float64)
        self.channels_H = torch.zeros(c.hidden_size, dtype=torch.float64)
        self.neurons_LF = torch.zeros(c.num_layers, c.intermediate_size, dtype=torch.float64)
        self.groups_LK = torch.zeros(c.num_layers, c.num_kv_heads, dtype=torch.float64)
        self.energy_JH = torch.zeros(2 * c.num_layers + 1, c.hidden_size, dtype=torch.float64)
        self.counts_V = torch.zeros(c.vocab_size, dtype=torch.int64)

    def norm(self, index: int, given_NH: Tensor, normed_NH: Tensor) -> None:
        square_NH = given_NH.double().square()
        self.energy_JH[index] += (square_NH / square_NH.mean(1, keepdim=True).clamp_min(1e-30)).sum(0).cpu()
        self.channels_H += normed_NH.abs().sum(0, dtype=torch.float64).cpu()

    def neurons(self, layer: int, activation_NF: Tensor) -> None:
        self.neurons_LF[layer] += activation_NF.abs().sum(0, dtype=torch.float64).cpu()

    def groups(self, layer: int, attended_NA: Tensor, weight_HA: Tensor) -> None:
        num_groups = self.groups_LK.shape[1]
        pairs = zip(attended_NA.chunk(num_groups, dim=1), weight_HA.chunk(num_groups, dim=1), strict=True)
        for group, (part_NA, columns_HA) in enumerate(pairs):
            added_NH = functional.linear(part_NA, columns_HA)
            length_N = torch.linalg.vector_norm(added_NH, dim=1, dtype=torch.float32)
            self.groups_LK[layer, group] += length_N.sum(dtype=torch.float64).cpu()


@contextmanager
def _watching(model: Decoder, totals: _Totals) -> Iterator[None]:
    """Hooks on the norms and on what enters the two output projections."""

    def norm_hook(index: int) -> Any:
        return lambda _, inputs, output: totals.norm(index, inputs[0], output)

    def neuron_hook(layer: int) -> Any:
        return lambda _, inputs: totals.neurons(layer, inputs[0])

    def group_hook(layer: int) -> Any:
        return lambda module, inputs: totals.groups(layer, inputs[0], module.weight)

    handles: list[Any] = [model.norm.register_forward_hook(norm_hook(2 * model.num_layers))]
    for layer, block in enumerate(_blocks(model)):
        handles.append(block.input_norm.register_forward_hook(norm_hook(2 * layer)))
        handles.append(block.mlp_norm.register_forward_hook(norm_hook(2 * layer + 1)))
        handles.append(block.out.register_forward_pre_hook(group_hook(layer)))
        handles.append(block.down.register_forward_pre_hook(neuron_hook(layer)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _blocks(model: Decoder) -> list[Block]:
    modules: list[nn.Module] = list(model.blocks)
    return [module for module in modules if isinstance(module, Block)]


@torch.no_grad()
def calibrate(
    model: Decoder, documents: Sequence[Document], *, tokens_per_batch: int = 8192, events: EventSink | None = None
) -> Importance:
    """Score every part of a model in one pass over the documents.

    Args:
        model: Any Decoder, not compiled.
        documents: Calibration text; every token counts, supervised or not.
        tokens_per_batch: Tokens in memory at once.

    Raises:
        CompatibilityError: There are no documents.
        NumericalError: A score is not finite.
    """
    if not documents:
        raise CompatibilityError("There are no calibration documents.", hint="Give some hundred of the kind to come.")
    events = events or NullSink()
    totals = _Totals(model)
    bodies = make_bodies(model, documents, tokens_per_batch)
    with _watching(model, totals):
        for done, body in enumerate(bodies, start=1):
            _walk(body, totals)
            events.progress(done, len(bodies), "batches", "calibrating")
    num_tokens = int(totals.counts_V.sum())
    result = Importance(
        influence_L=1.0 - (totals.influence_L / num_tokens).numpy(),
        channels_H=(totals.channels_H / (num_tokens * len(totals.energy_JH))).numpy(),
        neurons_LF=(totals.neurons_LF / num_tokens).numpy(),
        groups_LK=(totals.groups_LK / num_tokens).numpy(),
        energy_JH=(totals.energy_JH / num_tokens).numpy(),
        counts_V=totals.counts_V.numpy(),
    )
    for field in fields(result):
        if not np.isfinite(getattr(result, field.name)).all():
            raise NumericalError(
                f"The calibration pass gave {field.name} that are not finite.",
                hint="Load the model in float32, or look for NaN in its weights.",
            )
    return result


def _walk(body: Body, totals: _Totals) -> None:
    stream_NH = body.start()
    for layer in range(body.model.num_layers):
        after_NH = body.apply(layer, stream_NH)
        cosine_N = functional.cosine_similarity(stream_NH.float(), after_NH.float(), dim=-1)
        totals.influence_L[layer] += cosine_N.sum(dtype=torch.float64).cpu()
        stream_NH = after_NH
    body.model.norm(stream_NH)
    totals.counts_V += torch.bincount(body.batch.token_ids_N, minlength=body.model.vocab_size).cpu()
