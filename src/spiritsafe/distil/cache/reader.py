"""Reading a cache: a teacher that is not there, as a signal for any objective.

In: a packed batch. Out: for its supervised rows the ids and probabilities that were kept when the teacher read the same
documents. A document is found by its tokens, wherever it stands in a batch and whether or not its prefix is shared.

Shapes: N tokens, R supervised rows, W most entries of any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError, IntegrityError, SourceError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.distil.cache.config import CacheManifest, CaptureConfig
from spiritsafe.distil.cache.estimate import Ints, RowEstimates, padded_entries
from spiritsafe.distil.cache.shards import MANIFEST, Shard
from spiritsafe.distil.signal import SampledRows, Signal, SignalPart, document_keys
from spiritsafe.models import PackedBatch


def read_cache_manifest(directory: Path) -> CacheManifest:
    """What a cache says of itself.

    Raises:
        SourceError: The directory holds no cache.
        IntegrityError: Its manifest is damaged; the message names the file.
    """
    path = directory / MANIFEST
    if not path.exists():
        raise SourceError(f"{directory} holds no teacher cache.", hint="Check the path, or capture a teacher first.")
    try:
        return CacheManifest.from_json(read_json(path))
    except (IntegrityError, SourceError) as error:
        raise IntegrityError(
            f"{path} is damaged: {error.message}", hint="Restore it from a good copy, or capture again."
        ) from error


@final
class CachedTeacher:
    """A captured teacher.

    Args:
        tokenizer: ``ChatFormat.vocab_fingerprint`` of the tokens that batches will be in.
        teacher: Digest of the teacher that is wanted; None: any.
        chat_template: ``ChatFormat.template_fingerprint`` that is wanted; None: any.
        compute_dtype: Of the teacher's forward pass; None: any.
        config: How it should have been captured (estimator, its parameters, seed); None: any way.

    Raises:
        SourceError: There is no cache, or its capture is unfinished.
        CompatibilityError: A field of its fingerprint is not what is wanted; all that differ are named.
        IntegrityError: A file is damaged or foreign; the message names it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        tokenizer: str,
        teacher: str | None = None,
        chat_template: str | None = None,
        compute_dtype: str | None = None,
        config: CaptureConfig | None = None,
    ) -> None:
        self.manifest = read_cache_manifest(directory)
        expected: dict[str, JSON] = {
            "tokenizer": tokenizer,
            "teacher": teacher,
            "chat_template": chat_template,
            "compute_dtype": compute_dtype,
        }
        if config is not None:
            expected |= {"estimator": config.estimator, "parameters": config.parameters, "seed": config.seed}
        wanted = {name: value for name, value in expected.items() if value is not None}
        self.manifest.fingerprint.require(wanted, where=f"in {directory}")
        self.directory = directory
        self.shares_prefixes = True
        self.vocab_size = self.manifest.fingerprint.identity.vocab_size
        self._shards = [
            Shard(directory / plan.file, self.manifest, number) for number, plan in enumerate(self.manifest.shards)
        ]
        keys = np.concatenate([shard.keys for shard in self._shards]).view(">u8").reshape(-1, 2)
        self._order = np.argsort(keys[:, 0], kind="stable")
        self._sorted = keys[self._order]
        self._first_of_shard = np.cumsum([0, *(len(shard.keys) for shard in self._shards)])

    def describe(self) -> dict[str, JSON]:
        """What it is a capture of, and how it was made."""
        return {"signal": "cached", **self.manifest.fingerprint.fields()}

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._find(key) is not None

    def document(self, key: str) -> tuple[Ints, RowEstimates]:
        """Positions (rows of the document) and estimates of one document.

        Raises:
            CompatibilityError: It is not in the cache.
            IntegrityError: Its block is damaged; the message names the file.
        """
        place = self._find(key)
        if place is None:
            raise CompatibilityError(
                f"The document {key[:16]}… is not in the teacher cache {self.directory}.",
                hint="Capture the teacher on exactly the documents that are trained on (same prompt, template and "
                "tokens), or keep the teacher live.",
            )
        number = int(np.searchsorted(self._first_of_shard, place, side="right")) - 1
        return self._shards[number].document(place - int(self._first_of_shard[number]))

    def _find(self, key: str) -> int | None:
        high, low = int(key[:16], 16), int(key[16:32], 16)
        at = int(np.searchsorted(self._sorted[:, 0], np.uint64(high)))
        while at < len(self._sorted) and int(self._sorted[at, 0]) == high:
            if int(self._sorted[at, 1]) == low:
                return int(self._order[at])
            at += 1
        return None

    def read(self, batch: PackedBatch, rows_R: Tensor, *, layers: Sequence[int] = ()) -> Signal:
        """The kept entries of rows of a batch.

        Raises:
            CompatibilityError: Layers are asked for, a document is not in the cache, or a row of it was not captured.
            IntegrityError: A block is damaged; the message names the file.
        """
        if layers:
            raise CompatibilityError(
                f"A teacher cache holds probabilities, not hidden states (layers {list(layers)} were asked for).",
                hint="Leave hidden-state matching out, or keep the teacher live.",
            )
        rows = rows_R.cpu().numpy()
        ends = np.cumsum(batch.lengths)
        document_R = np.searchsorted(ends, rows, side="right") - (1 if batch.prefix_length else 0)
        position_R = batch.position_ids_N.cpu().numpy()[rows]
        keys = document_keys(batch)
        parts: list[RowEstimates] = []
        index_R = np.empty(len(rows), dtype=np.int64)
        before = 0
        for document in np.unique(document_R):
            mine = np.flatnonzero(document_R == document)
            key = keys[document] if document >= 0 else ""
            positions, estimates = self.document(key)
            index_R[mine] = before + self._places(positions, position_R[mine], key)
            before += len(positions)
            parts.append(estimates)
        rows_of_batch = self._to_rows(RowEstimates.joined(parts), index_R, rows_R.device)
        return Signal(parts=(SignalPart(index_S=None, rows=rows_of_batch),))

    def _places(self, cached: Ints, wanted: npt.NDArray[Any], key: str) -> Ints:
        places = np.minimum(np.searchsorted(cached, wanted), len(cached) - 1)
        missing = cached[places] != wanted
        if missing.any():
            raise CompatibilityError(
                f"Row {int(wanted[missing][0])} of the document {key[:16]}… was not captured in {self.directory}: "
                "other tokens of it were supervised then.",
                hint="Capture the teacher on the documents with the mask that is trained with.",
            )
        return places

    def _to_rows(self, estimates: RowEstimates, index_R: Ints, device: torch.device) -> SampledRows:
        ids_RW, probs_RW = padded_entries(estimates)
        return SampledRows(
            ids_RK=torch.from_numpy(ids_RW[index_R]).to(device),
            probs_RK=torch.from_numpy(probs_RW[index_R].astype(np.float32)).to(device),
            entropy_R=torch.from_numpy(estimates.entropy_R[index_R].astype(np.float32)).to(device),
            unbiased=self.manifest.fingerprint.unbiased,
        )
