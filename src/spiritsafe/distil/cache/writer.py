"""Capture: a teacher reads documents once, and what it says of their supervised tokens goes to disk.

In: a teacher and documents. Out: a directory that :class:`spiritsafe.distil.cache.CachedTeacher` reads. Documents are
laid into shards in the order given, each shard is computed from scratch and appears whole, so a capture that was
killed goes on with the first shard that is missing and ends with the same bytes (on a GPU up to the last bits of
running sums, which are not always added in the same order there).

Each micro-batch's hidden states become logits a chunk of rows at a time; never are there more than ``logits_bytes``.
Shapes: N tokens of a batch, R supervised rows, C rows of a chunk, G teacher width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError, NumericalError, RecipeError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.atomic import ensure_directory, read_json, write_json
from spiritsafe.core.files.lock import OTHERS_WORK_S, locked
from spiritsafe.core.mapped import MappedSequence
from spiritsafe.core.process.platforms import Platform, continue_in
from spiritsafe.core.records import Record
from spiritsafe.distil.cache.config import (
    CacheManifest,
    CaptureConfig,
    EstimatorName,
    Fingerprint,
    ShardPlan,
    TeacherIdentity,
)
from spiritsafe.distil.cache.estimate import Ints, RowEstimates
from spiritsafe.distil.cache.estimator import draw_offsets, estimate_chunk, num_roundings, rounding_uniforms
from spiritsafe.distil.cache.shards import MANIFEST, Shard, encode_document, is_whole, write_cache_shard
from spiritsafe.distil.signal import document_key
from spiritsafe.models import IGNORED, Document, LanguageModel, LoadedModel, this_platform
from spiritsafe.training import (
    ChunkLogits,
    document_arrays,
    logits_bytes_per_row,
    pack_micro_batch,
    rows_of_chunk,
    split_micro_batches,
    supervised_counts,
)

_REJECTED = "rejected-document.json"


class RowSource(Protocol):
    """Who says what a teacher says: a live model, a server."""

    def fingerprint(self) -> Fingerprint:
        """Everything that its estimates depend on besides the document."""
        ...

    def num_roundings(self) -> int:
        """Most random numbers that rounding one row takes."""
        ...

    def estimates(self, documents: Sequence[Document]) -> Iterator[tuple[int, RowEstimates]]:
        """For each document its index and the rows of its supervised positions, in any order."""
        ...


def teacher_identity(teacher: LoadedModel) -> TeacherIdentity:
    """What a cache of this model must say of itself."""
    return TeacherIdentity(
        teacher=teacher.checkpoint.digest,
        tokenizer=teacher.chat.vocab_fingerprint,
        chat_template=teacher.chat.template_fingerprint,
        compute_dtype=teacher.model.number_format,
        vocab_size=teacher.model.vocab_size,
    )


def supervised_positions(document: Document) -> Ints:
    """The positions whose successor is supervised: the rows that a cache holds."""
    return np.flatnonzero(np.array(document.supervised[1:], dtype=bool))


def merge_documents(documents: Sequence[Document]) -> Sequence[Document]:
    """Each distinct sequence once, supervised where any of its copies is; those without a supervised token left out.

    Documents are made when they are asked for; held are 16 bytes of each, and those whose copies differ in their flags.

    Raises:
        RecipeError: A document has another number of flags than tokens.
    """
    names, marks = bytearray(), bytearray()
    for ids, flags, *_ in document_arrays(documents):
        if len(flags) != len(ids):
            raise RecipeError(
                f"A document of {len(ids)} tokens has {len(flags)} flags.", hint="Give one flag for each token."
            )
        names += bytes.fromhex(document_key(ids))[:16]
        marks += sha256(flags.tobytes()).digest()[:8]
    _, firsts, group_of = np.unique(np.frombuffer(names, dtype="V16"), return_index=True, return_inverse=True)
    mark_of = np.frombuffer(marks, dtype="<u8")
    merged: dict[int, NDArray[np.bool_]] = {}
    for place in np.flatnonzero(mark_of != mark_of[firsts[group_of]]).tolist():
        first = int(firsts[group_of[place]])
        known = merged.get(first, np.asarray(documents[first].supervised))
        merged[first] = known | np.asarray(documents[place].supervised)
    counts = supervised_counts(documents)
    for place, known in merged.items():
        counts[place] = np.count_nonzero(known[1:])
    kept = [place for place in np.sort(firsts).tolist() if counts[place]]

    def once(_: int, place: int) -> Document:
        document = documents[place]
        flags = tuple(merged[place].tolist()) if place in merged else document.supervised
        return Document(token_ids=document.token_ids, supervised=flags)

    return MappedSequence(kept, once)


def capture(
    teacher: LoadedModel,
    documents: Sequence[Document],
    config: CaptureConfig,
    directory: Path,
    *,
    events: EventSink | None = None,
) -> CaptureReport:
    """Write what a model says of the supervised tokens of some documents; go on where an earlier call was stopped.

    Args:
        teacher: The model, on the device that should compute.
        documents: In its tokens.
        config: What to keep of each row.
        events: Hears of progress, in rows.

    Raises:
        RecipeError: No document supervises anything.
        CompatibilityError: A document does not fit the model, or the directory holds another capture.
        NumericalError: The teacher's logits are not finite; the document is saved for inspection.
        StorageError: The disk is full.
    """
    source = _LiveSource(teacher, config, directory)
    here = this_platform(teacher.model.head().weight_VH.device, teacher.model.head().weight_VH.dtype)
    return capture_from(source, documents, directory, config=config, platform=here, events=events)


@final
class CaptureReport(Record):
    """What a finished capture takes on disk, every file counted, and how far it can be from its teacher.

    Attributes:
        unbiased: Whether the expectation of a row over its draws is the teacher's distribution.
        rest_mass: Of a biased one: the mean probability of all ids of which only the sum is known.
        most_kl: Of a biased one: the mean KL(teacher ‖ cache), in nats a row, is at most this, rounding aside.
    """

    num_documents: int
    num_rows: int
    num_bytes: int
    bytes_per_row: float
    unbiased: bool = True
    rest_mass: float = 0.0
    most_kl: float = 0.0

    @property
    def bias(self) -> str:
        """For print."""
        if self.unbiased:
            return "unbiased: the mean of a row over its draws is the teacher's distribution"
        return (
            f"biased: beyond the listed tokens only the sum of the probabilities is known ({self.rest_mass:.2%} on "
            f"average); it is laid evenly, which is at most {self.most_kl:.3g} nats a token from the teacher"
        )


def capture_from(
    source: RowSource,
    documents: Sequence[Document],
    directory: Path,
    *,
    config: CaptureConfig,
    platform: Platform | None = None,
    events: EventSink | None = None,
) -> CaptureReport:
    """:func:`capture` from any source; of ``config`` the seed and the sizes of shards and batches matter here.

    ``platform`` is what computes, where it is known: one that goes on with another one's capture is said.

    Raises:
        RecipeError: No document supervises anything.
        CompatibilityError: The directory holds another capture.
        StorageError: The disk is full.
    """
    events = events or NullSink()
    merged = merge_documents(documents)
    if not merged:
        raise RecipeError("No document supervises a token.", hint="Give documents with completions.")
    shards = [MappedSequence(places, lambda _, place: merged[place]) for places in _into_shards(merged, config)]
    manifest = CacheManifest(
        fingerprint=source.fingerprint(),
        micro_batch_tokens=config.micro_batch_tokens,
        shards=tuple(_plan(number, shard) for number, shard in enumerate(shards)),
    )
    ensure_directory(directory)
    with locked(directory / "capture.lock", wait_s=OTHERS_WORK_S):
        _start(directory, manifest)
        whole = [is_whole(directory / plan.file, manifest, number) for number, plan in enumerate(manifest.shards)]
        if platform is not None and not all(whole):
            continue_in(directory, platform, what=f"The cache in {directory}", is_begun=any(whole), events=events)
        done = 0
        for number, shard in enumerate(shards):
            plan = manifest.shards[number]
            if not whole[number]:
                held = shard[:]  # documents of this shard alone are in memory
                blocks: dict[int, bytes] = {}
                seen = done
                for index, rows in source.estimates(held):
                    blocks[index] = _block(held[index], rows, manifest, source.num_roundings())
                    seen += len(rows)
                    events.progress(seen, manifest.num_rows, "rows")
                keyed = [(document_key(d.token_ids), blocks[index]) for index, d in enumerate(held)]
                write_cache_shard(directory / plan.file, manifest, number, keyed)
            done += plan.num_rows
            events.progress(done, manifest.num_rows, "rows", plan.file)
    report = _report(directory, manifest)
    events.metrics("capture", report.to_json())
    return report


def _block(document: Document, rows: RowEstimates, manifest: CacheManifest, width: int) -> bytes:
    fingerprint, positions = manifest.fingerprint, supervised_positions(document)
    uniforms_RU = rounding_uniforms(fingerprint.seed, document_key(document.token_ids), positions, width)
    return encode_document(positions, rows, fingerprint.identity.vocab_size, uniforms_RU)


def _into_shards(documents: Sequence[Document], config: CaptureConfig) -> list[range]:
    """Places of each shard's documents."""
    firsts, room = [0], config.rows_per_shard
    for place, count in enumerate(supervised_counts(documents).tolist()):
        if room <= 0:
            firsts.append(place)
            room = config.rows_per_shard
        room -= count
    return [range(first, end) for first, end in zip(firsts, [*firsts[1:], len(documents)], strict=True)]


def _plan(number: int, documents: Sequence[Document]) -> ShardPlan:
    hasher, num_rows = sha256(), 0
    for ids, flags, *_ in document_arrays(documents):
        hasher.update(bytes.fromhex(document_key(ids)) + flags.tobytes())
        num_rows += int(np.count_nonzero(flags[1:]))
    return ShardPlan(
        file=f"shard-{number:05d}.rows",
        num_documents=len(documents),
        num_rows=num_rows,
        documents=f"sha256:{hasher.hexdigest()}",
    )


def _start(directory: Path, manifest: CacheManifest) -> None:
    """Write the manifest, or check that the one there is the same; remove what a killed writer left."""
    for left_over in directory.glob(".*.tmp"):
        left_over.unlink()
    path = directory / MANIFEST
    if not path.exists():
        write_json(path, manifest.to_json())
        return
    there = CacheManifest.from_json(read_json(path))
    there.fingerprint.require(manifest.fingerprint.fields(), where=f"in {directory}")
    if there != manifest:
        raise CompatibilityError(
            f"{directory} holds a capture of other documents, or in other batches.",
            hint="Capture into an empty directory, or delete this one to start again.",
        )


def _report(directory: Path, manifest: CacheManifest) -> CaptureReport:
    files = [directory / MANIFEST, *(directory / shard.file for shard in manifest.shards)]
    num_bytes = sum(path.stat().st_size for path in files)
    unbiased = manifest.fingerprint.unbiased
    rest_mass, most_kl = (0.0, 0.0) if unbiased else _distance(directory, manifest)
    return CaptureReport(
        unbiased=unbiased,
        rest_mass=rest_mass,
        most_kl=most_kl,
        num_documents=manifest.num_documents,
        num_rows=manifest.num_rows,
        num_bytes=num_bytes,
        bytes_per_row=num_bytes / manifest.num_rows,
    )


def _distance(directory: Path, manifest: CacheManifest) -> tuple[float, float]:
    """Means over all rows: m, what lies beyond the listed ids, and a bound of the KL that laying it evenly costs.

    With n other ids, KL(p ‖ even) = Σ p_i log(p_i n / m) over them = m (log n - H), H the entropy of their shares; it
    is largest where one of them holds it all: m log n.
    """
    mass = most = 0.0
    for number, plan in enumerate(manifest.shards):
        shard = Shard(directory / plan.file, manifest, number)
        for place in range(plan.num_documents):
            _, rows = shard.document(place)
            mass_R = np.where(rows.num_draws_R > 0, np.exp(rows.log_tail_mass_R), 0.0)
            others_R = np.maximum(manifest.fingerprint.identity.vocab_size - rows.num_head_R, 1)
            mass += float(mass_R.sum())
            most += float((mass_R * np.log(others_R)).sum())
    return mass / manifest.num_rows, most / manifest.num_rows


def logits_chunks(
    model: LanguageModel, hidden_RG: Tensor, *, logits_bytes: int | None
) -> Iterator[tuple[slice, Tensor]]:
    """Rows and their logits ``[C, V]``, chunk by chunk; the memory is used again for the next chunk."""
    head = model.head()
    row_bytes = 3 * logits_bytes_per_row(hidden_RG, model.vocab_size)  # logits, running sums, a mask and temporaries
    most_rows = rows_of_chunk(hidden_RG, row_bytes, logits_bytes)
    yield from ChunkLogits(hidden_RG, head.weight_VH.detach(), most_rows=most_rows, scale=head.scale).in_chunks()


@final
class _LiveSource:
    """A model beside us."""

    def __init__(self, teacher: LoadedModel, config: CaptureConfig, directory: Path) -> None:
        self._model = teacher.model
        self._identity = teacher_identity(teacher)
        self._config = config
        self._directory = directory

    def fingerprint(self) -> Fingerprint:
        name: EstimatorName = self._config.estimator
        return Fingerprint(
            identity=self._identity, estimator=name, parameters=self._config.parameters, seed=self._config.seed
        )

    def num_roundings(self) -> int:
        return num_roundings(self._config, self._identity.vocab_size)

    def estimates(self, documents: Sequence[Document]) -> Iterator[tuple[int, RowEstimates]]:
        for index, document in enumerate(documents):
            self._check(index, document)
        lengths = [len(document.token_ids) for document in documents]
        for batch in split_micro_batches(
            range(len(documents)), lengths, micro_batch_tokens=self._config.micro_batch_tokens
        ):
            yield from zip(batch, self._micro_batch([documents[index] for index in batch]), strict=True)

    def _check(self, index: int, document: Document) -> None:
        model = self._model
        if len(document.token_ids) > model.max_context:
            raise CompatibilityError(
                f"A document has {len(document.token_ids)} tokens; the teacher's context is {model.max_context}.",
                hint="Leave long documents out, or choose a teacher with a longer context.",
            )
        if min(document.token_ids) < 0 or max(document.token_ids) >= model.vocab_size:
            raise CompatibilityError(
                f"Document {index} holds a token id outside the teacher's vocabulary of {model.vocab_size}.",
                hint="Tokenize the documents with the teacher's own tokenizer.",
            )

    @torch.inference_mode()
    def _micro_batch(self, documents: Sequence[Document]) -> list[RowEstimates]:
        """The rows of each document, in order."""
        model, config = self._model, self._config
        batch = pack_micro_batch(documents, share_prefix=model.shares_prefixes).to(model.head().weight_VH.device)
        hidden_RG = model(batch)[torch.nonzero(batch.targets_N != IGNORED).squeeze(1)]
        positions = [supervised_positions(document) for document in documents]
        keys = [document_key(document.token_ids) for document in documents]
        offsets_R = np.concatenate([draw_offsets(config.seed, k, p) for k, p in zip(keys, positions, strict=True)])
        lengths = [len(own) for own in positions]
        parts = []
        for chunk, logits_CV in logits_chunks(model, hidden_RG, logits_bytes=config.logits_bytes):
            good_C = torch.isfinite(logits_CV).all(1)
            if not bool(good_C.all()):
                self._reject(documents, lengths, chunk.start + int((~good_C).nonzero()[0]))
            parts.append(estimate_chunk(logits_CV, config, offsets_R[chunk]))
        return list(RowEstimates.joined(parts).split(lengths))

    def _reject(self, documents: Sequence[Document], lengths: Sequence[int], row: int) -> None:
        """Save the document that a row belongs to, and stop."""
        index = int(np.searchsorted(np.cumsum(lengths), row, side="right"))
        document = documents[index]
        position = int(supervised_positions(document)[row - sum(lengths[:index])])
        path = self._directory / _REJECTED
        write_json(
            path,
            {
                "key": document_key(document.token_ids),
                "token_ids": list(document.token_ids),
                "supervised": list(document.supervised),
                "position": position,
                "teacher": self._identity.to_json(),
            },
        )
        raise NumericalError(
            f"The teacher's logits at position {position} of a document of {len(document.token_ids)} tokens are not "
            f"finite; the document is in {path}.",
            hint="Try a wider compute dtype (bfloat16 or float32 instead of float16), or fetch the teacher again.",
        )
