"""Importance matrices (imatrix): how large the inputs of each linear layer are, for quantisers that weigh errors by it.

In: a model and documents, or a file in llama.cpp's own imatrix format. Out: for each weight matrix of the GGUF file the
sum of its squared inputs, column by column, over all tokens. A quantiser then minimises the error of a layer's outputs
on such text, to first order: ``sum_c mean(x_c²) (w_c - q_c)²``. Shapes: N tokens, C columns of a matrix (its inputs),
K matrices under one name (experts; 1 elsewhere).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, final

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spiritsafe.core.canonical import digest, digest_bytes
from spiritsafe.core.errors import CompatibilityError, NumericalError, SourceError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.atomic import atomic_path
from spiritsafe.models.decoder.architectures import DECODER_NAMES, LAYER_TENSORS
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.gguf.reader import GGUFFile
from spiritsafe.models.interface.batch import Document, pack_documents
from spiritsafe.models.interface.language_model import LanguageModel

_SUMS, _COUNTS = ".in_sum2", ".counts"
_DATASETS, _NUM_CHUNKS, _CHUNK_SIZE = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.(.+)$")


@final
@dataclass(frozen=True, kw_only=True)
class ImportanceMatrix:
    """Sums of squared inputs of a model's linear layers over some text.

    Attributes:
        sums: Name of a weight in GGUF files → float32 ``[K, C]``, the sum of each column's squared inputs.
        counts: The same names → float32 ``[K]``, over how many tokens.
        datasets: What the text was.
        num_documents: How many texts.
        longest: Tokens of the longest.

    Raises:
        CompatibilityError: Sums and counts do not belong together, or there are none.
        NumericalError: A number is not finite, or negative.
    """

    sums: Mapping[str, NDArray[np.float32]]
    counts: Mapping[str, NDArray[np.float32]]
    datasets: tuple[str, ...]
    num_documents: int
    longest: int

    def __post_init__(self) -> None:
        hint = "Measure it again with measure_importance, or get a whole file."
        shapes = {name: sums.shape[:1] for name, sums in self.sums.items() if sums.ndim == 2 and sums.size}
        if not shapes or shapes != {name: counts.shape for name, counts in self.counts.items()}:
            raise CompatibilityError(
                "An importance matrix has not one count for each matrix it has sums of.", hint=hint
            )
        for name in sorted(shapes):
            for numbers in (self.sums[name], self.counts[name]):
                if not np.isfinite(numbers).all() or (numbers < 0).any():
                    raise NumericalError(
                        f"The importance of {name} is not finite, or negative.",
                        hint="Load the model in float32, or look for NaN in its weights.",
                    )

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` over names, shapes and values."""
        return digest(
            {
                name: [list(sums.shape), *(digest_bytes(a.astype("<f4").tobytes()) for a in (sums, self.counts[name]))]
                for name, sums in self.sums.items()
            }
        )

    def means(self, name: str) -> NDArray[np.float32]:
        """Mean squared input of each column, ``[K, C]``; 1 for a matrix that no token went through, as in llama.cpp."""
        counts_K1 = self.counts[name][:, None]
        return np.where(counts_K1 > 0, self.sums[name] / np.where(counts_K1 > 0, counts_K1, 1), 1).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write it as ``llama-imatrix`` does, so that ``llama-quantize --imatrix`` reads it; whole or absent.

        Raises:
            StorageError: It cannot be written.
        """
        with atomic_path(path) as temporary:
            writer = gguf.GGUFWriter(temporary, "")
            writer.add_type("imatrix")
            writer.add_array(_DATASETS, list(self.datasets))
            writer.add_uint32(_NUM_CHUNKS, self.num_documents)
            writer.add_uint32(_CHUNK_SIZE, self.longest)
            for name in sorted(self.sums):
                writer.add_tensor(f"{name}{_SUMS}", np.ascontiguousarray(self.sums[name]))
                writer.add_tensor(f"{name}{_COUNTS}", np.ascontiguousarray(self.counts[name][:, None]))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()

    @classmethod
    def load(cls, path: Path) -> ImportanceMatrix:
        """Read a file of :meth:`save` or of ``llama-imatrix``.

        Raises:
            SourceError: The file is missing, damaged, or no importance matrix.
            CompatibilityError: Sums and counts do not belong together.
            NumericalError: A number is not finite, or negative.
        """
        with GGUFFile(path) as file:
            datasets, num_documents, longest = (file.metadata.get(key) for key in (_DATASETS, _NUM_CHUNKS, _CHUNK_SIZE))
            if (
                file.metadata.get("general.type") != "imatrix"
                or not (isinstance(datasets, list) and all(isinstance(one, str) for one in datasets))
                or not (isinstance(num_documents, int) and isinstance(longest, int))
            ):
                raise SourceError(
                    f"{path} is no importance matrix in llama.cpp's GGUF format.",
                    hint="Write one with measure_importance or with llama-imatrix; its older .dat files are not read.",
                )
            tables: dict[str, dict[str, NDArray[np.float32]]] = {_SUMS: {}, _COUNTS: {}}
            for name in file.tensors:
                stem, _, ending = name.rpartition(".")
                if f".{ending}" in tables:
                    tables[f".{ending}"][stem] = file.load(name).numpy()
        return cls(
            sums={name: np.atleast_2d(sums) for name, sums in tables[_SUMS].items()},
            counts={name: counts.reshape(-1) for name, counts in tables[_COUNTS].items()},
            datasets=tuple(datasets),
            num_documents=num_documents,
            longest=longest,
        )


@final
class _Totals:
    """Sums in float64, filled by hooks while the model runs; what a batch is filled up with does not count."""

    def __init__(self) -> None:
        self.sums_C: dict[str, Tensor] = {}
        self.num_rows = 0

    def add(self, names: Sequence[str], inputs_NC: Tensor) -> None:
        rows_NC = inputs_NC.detach().reshape(-1, inputs_NC.shape[-1])[: self.num_rows]
        sums_C = rows_NC.double().square().sum(0).cpu()
        for name in names:
            self.sums_C[name] = self.sums_C[name] + sums_C if name in self.sums_C else sums_C


def _linear_layers(model: LanguageModel) -> Iterator[tuple[nn.Module, list[str]]]:
    """Every linear layer of the blocks, and the names in GGUF files of the matrices that are stacked in it.

    Raises:
        CompatibilityError: One has no known name there.
    """
    matrices = [tensor for tensor in LAYER_TENSORS if tensor.columns is not None]
    if isinstance(model, Decoder):
        for index, block in enumerate(model.blocks):
            for module, parts in groupby(matrices, key=attrgetter("module")):
                yield getattr(block, module), [f"blk.{index}.{part.gguf}.weight" for part in parts]
        return
    known = {tensor.name: tensor.gguf for tensor in matrices}
    for path, layer in model.named_modules():
        if isinstance(layer, nn.Linear) and layer.weight is not model.head().weight_VH:
            match = _LAYER.search(path)
            if match is None or match[2] not in known:
                raise CompatibilityError(
                    f"The linear layer {path} has no name in GGUF files that is known here.",
                    hint=f"Importance is measured of dense models built like {DECODER_NAMES}, without adapters.",
                )
            yield layer, [f"blk.{match[1]}.{known[match[2]]}.weight"]


@contextmanager
def _watching(model: LanguageModel, totals: _Totals) -> Iterator[None]:
    """Hooks on what enters the linear layers."""

    def hook(names: Sequence[str]) -> Any:
        return lambda _, inputs: totals.add(names, inputs[0])

    handles = [layer.register_forward_pre_hook(hook(names)) for layer, names in _linear_layers(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _head_name(model: LanguageModel) -> str:
    """The head in GGUF files: a tied one is stored as the embedding."""
    head = model.head().weight_VH
    is_tied = any(isinstance(module, nn.Embedding) and module.weight is head for module in model.modules())
    return "token_embd.weight" if is_tied else "output.weight"


def _batches(model: LanguageModel, documents: Sequence[Document], tokens_per_batch: int) -> Iterator[list[Document]]:
    """Documents that are computed together; one at a time where a model would pad them."""
    together: list[Document] = []
    for document in documents:
        num_tokens = sum(len(one.token_ids) for one in (*together, document))
        if together and (num_tokens > tokens_per_batch or not isinstance(model, Decoder)):
            yield together
            together = []
        together.append(document)
    yield together


@torch.no_grad()
def measure_importance(
    model: LanguageModel,
    documents: Sequence[Document],
    *,
    tokens_per_batch: int = 2048,
    events: EventSink | None = None,
) -> ImportanceMatrix:
    """Sums of the squared inputs of every linear layer, the head included, over all tokens of some documents.

    Args:
        model: Not compiled.
        documents: Text as the model will read and write it; every token counts, supervised or not.
        tokens_per_batch: Tokens in memory at once.

    Raises:
        CompatibilityError: There are no documents, one is too long, or a layer has no name in GGUF files.
        NumericalError: An input is not finite.
    """
    if not documents:
        raise CompatibilityError("There are no documents to measure importance on.", hint="Give some hundred.")
    events, totals, head_name = events or NullSink(), _Totals(), _head_name(model)
    lengths = [len(document.token_ids) for document in documents]
    done = 0
    with _watching(model, totals):
        for together in _batches(model, documents, tokens_per_batch):
            batch = pack_documents(together).to(model.head().weight_VH.device)
            totals.num_rows = batch.num_tokens
            totals.add([head_name], model(batch))
            done += len(together)
            events.progress(done, len(documents), "documents", "measuring importance")
    return ImportanceMatrix(
        sums={name: sums_C.float().numpy()[None] for name, sums_C in totals.sums_C.items()},
        counts={name: np.array([sum(lengths)], dtype=np.float32) for name in totals.sums_C},
        datasets=(f"documents {digest([list(document.token_ids) for document in documents])}",),
        num_documents=len(documents),
        longest=max(lengths),
    )
