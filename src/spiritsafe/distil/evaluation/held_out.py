"""Held-out likelihood: how well a model predicts documents that it was not trained on, and how a teacher differs there.

In: a model, documents in its tokens (made as for training), where wanted a teacher of the same vocabulary. Out: a
:class:`HeldOut`: for each document the sum over its supervised tokens of the negative log-likelihood, and of
KL(teacher ‖ student) over the whole vocabulary. What is said of them with intervals is the business of
:mod:`spiritsafe.distil.evaluation.estimates`. Logits are float32 and exist a chunk of rows at a time; sums are float64.
Vocabularies of one tokenizer that are padded to different sizes are compared as
:mod:`spiritsafe.distil.losses.divergences` compares them.

Shapes: N tokens, D documents, R supervised rows, C rows of a chunk, G teacher width, V student and U common vocabulary,
K entries of a cached row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError, NumericalError, RecipeError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.distil.cache import CachedTeacher
from spiritsafe.distil.evaluation.estimates import HeldOut
from spiritsafe.distil.losses.sampled_head import within_vocabulary
from spiritsafe.distil.signal import SampledRows, TeacherRows
from spiritsafe.models import (
    IGNORED,
    ChatFormat,
    Document,
    LanguageModel,
    LoadedModel,
    PackedBatch,
    logits_dtype,
    pack_documents,
    require_same_vocabulary,
)
from spiritsafe.stats import Floats
from spiritsafe.training import (
    ChunkLogits,
    document_arrays,
    document_lengths,
    rows_of_chunk,
    split_micro_batches,
    supervised_counts,
)

_BATCH_TOKENS = 8192


def held_out(
    student: LoadedModel,
    documents: Sequence[Document],
    *,
    teacher: LoadedModel | CachedTeacher | None = None,
    num_bytes: Sequence[int] | None = None,
    micro_batch_tokens: int = _BATCH_TOKENS,
    logits_bytes: int | None = None,
    events: EventSink | None = None,
) -> HeldOut:
    """Read each document once and sum over its supervised tokens. Documents' weights play no part.

    Args:
        student: The model that is measured.
        documents: In its tokens. Those longer than a context, and those without a supervised token, are left out and
            listed.
        teacher: Live, on the student's device, its KL exact; or cached, its KL an unbiased estimate.
        num_bytes: UTF-8 bytes of what each document's supervised tokens say. Pass those of the texts where models of
            different tokenizers will be compared; None: of what the student's tokenizer makes of its tokens.
        micro_batch_tokens: Most tokens read at once; a longer document is read alone.
        logits_bytes: Most memory for logits; None: 128 MiB on a CPU, 2 GiB on a GPU.

    Raises:
        RecipeError: No document is left.
        CompatibilityError: The teacher is of another vocabulary or was cached with a bias, a document is not in the
            cache, holds an id that a model does not know, or ``num_bytes`` is of other documents.
        NumericalError: A log-likelihood or a divergence is not finite.
    """
    sink = events or NullSink()
    check_teacher(student, teacher)
    if num_bytes is not None and len(num_bytes) != len(documents):
        raise CompatibilityError(
            f"{len(num_bytes)} numbers of bytes for {len(documents)} documents.", hint="Give one for each document."
        )
    models = [student.model, *([teacher.model] if isinstance(teacher, LoadedModel) else [])]
    lengths, counts = document_lengths(documents), supervised_counts(documents)
    is_too_long = lengths > min(model.max_context for model in models)
    places = np.flatnonzero(~is_too_long & (counts > 0)).tolist()
    if not places:
        raise RecipeError(
            f"None of {len(documents)} documents can be measured: {int(is_too_long.sum())} are longer than the "
            "context, the others supervise no token.",
            hint="Give shorter documents, and some with a completion.",
        )
    _check_tokens(documents, places, models)
    columns: dict[str, dict[int, float]] = {name: {} for name in ("nll", "kl", "num_agreeing", "num_bytes")}
    done, total = 0, int(lengths[places].sum())
    budget = max(micro_batch_tokens, int(lengths[places].max()))
    with _evaluating(models), torch.inference_mode():
        for micro in split_micro_batches(places, lengths.tolist(), micro_batch_tokens=budget):
            own = [documents[place] for place in micro]
            batch = pack_documents(own).to(student.model.head().weight_VH.device)
            sums_MD = _measure(student.model, teacher, batch, logits_bytes)
            if not np.isfinite(sums_MD).all():
                wrong = micro[int(np.flatnonzero(~np.isfinite(sums_MD).all(0))[0])]
                raise NumericalError(
                    f"The likelihood of document {wrong} is not finite.",
                    hint="The weights hold or make NaN: check the training that made them, or load them in float32.",
                )
            said = supervised_bytes(student.chat, own) if num_bytes is None else [num_bytes[place] for place in micro]
            for column, values in zip(columns.values(), (*sums_MD.tolist(), said), strict=True):
                column.update(zip(micro, values, strict=True))
            done += batch.num_tokens
            sink.progress(done, total, "tokens")
    by_place = {name: tuple(column[place] for place in places) for name, column in columns.items()}
    return HeldOut(
        vocabulary=student.chat.vocab_fingerprint,
        teacher=_name_of(teacher),
        num_documents=len(documents),
        too_long=tuple(np.flatnonzero(is_too_long).tolist()),
        unsupervised=tuple(np.flatnonzero(~is_too_long & (counts == 0)).tolist()),
        places=tuple(places),
        num_tokens=tuple(counts[places].tolist()),
        num_bytes=tuple(int(number) for number in by_place["num_bytes"]),
        nll=by_place["nll"],
        kl=None if teacher is None else by_place["kl"],
        is_kl_exact=isinstance(teacher, LoadedModel),
        num_agreeing=None if teacher is None else tuple(round(number) for number in by_place["num_agreeing"]),
    )


def check_teacher(student: LoadedModel, teacher: LoadedModel | CachedTeacher | None) -> None:
    """Refuse, before anything heavy, a teacher whose distributions say nothing of this student.

    Raises:
        CompatibilityError: It is of another vocabulary, or was cached with a bias.
    """
    if isinstance(teacher, LoadedModel):
        require_same_vocabulary(teacher.chat, student.chat)
    elif teacher is not None:
        fingerprint = teacher.manifest.fingerprint
        fingerprint.require({"tokenizer": student.chat.vocab_fingerprint}, where=f"in {teacher.directory}")
        if fingerprint.estimator == "served_top_k":
            raise CompatibilityError(
                f"{teacher.directory} holds the likeliest tokens only, as an endpoint gives them: a divergence from "
                "these is not the divergence from the teacher.",
                hint="Measure against the live teacher or a cache captured from it, or measure the likelihood alone.",
            )


def supervised_bytes(chat: ChatFormat, documents: Sequence[Document]) -> list[int]:
    """UTF-8 bytes of what each document's supervised tokens say; special tokens say nothing, marks of thoughts do."""
    found = []
    for ids, flags, *_ in document_arrays(documents):
        supervised = np.flatnonzero(flags[1:]) + 1  # nothing predicts the first
        runs = np.split(supervised, np.flatnonzero(np.diff(supervised) > 1) + 1)
        found.append(sum(len(chat.decode(ids[run].tolist()).encode()) for run in runs))
    return found


def _name_of(teacher: LoadedModel | CachedTeacher | None) -> str | None:
    if isinstance(teacher, CachedTeacher):
        return teacher.manifest.fingerprint.identity.teacher
    return None if teacher is None else teacher.checkpoint.digest


def _check_tokens(documents: Sequence[Document], places: Sequence[int], models: Sequence[LanguageModel]) -> None:
    most = min(model.vocab_size for model in models)
    for place, (ids, flags, *_) in zip(places, document_arrays(documents[place] for place in places), strict=True):
        if ids.min() < 0 or ids.max() >= most or len(ids) != len(flags):
            raise CompatibilityError(
                f"Document {place} of {len(ids)} tokens and {len(flags)} flags holds a token id outside the "
                f"vocabulary of {most}, or not one flag for each token.",
                hint="Make the documents with this model's own chat format.",
            )


@contextmanager
def _evaluating(models: Sequence[LanguageModel]) -> Iterator[None]:
    """Without dropout; afterwards each model is in the mode that it was in."""
    modes = [model.training for model in models]
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for model, mode in zip(models, modes, strict=True):
            model.train(mode)


def _measure(
    student: LanguageModel, teacher: LoadedModel | CachedTeacher | None, batch: PackedBatch, logits_bytes: int | None
) -> Floats:
    """Of each document of a batch the sums over its rows: negative log-likelihood, KL, agreements; ``[3, D]``."""
    rows_R = torch.nonzero(batch.targets_N != IGNORED).squeeze(1)
    head, hidden_RH = student.head(), student(batch)[rows_R]
    vocab = int(head.weight_VH.shape[0])
    theirs = _teacher_rows(teacher, batch, rows_R, vocab)
    common = theirs.weight_UG.shape[0] if isinstance(theirs, TeacherRows) else 0
    row_bytes = logits_dtype(hidden_RH).itemsize * (2 * vocab + 2 * common)  # logits and logarithms of both
    most_rows = rows_of_chunk(hidden_RH, row_bytes, logits_bytes)
    logits = ChunkLogits(hidden_RH, head.weight_VH.detach(), most_rows=most_rows, scale=head.scale)
    teacher_logits = (
        ChunkLogits(theirs.hidden_RG, theirs.weight_UG, most_rows=most_rows, scale=theirs.scale)
        if isinstance(theirs, TeacherRows)
        else None
    )
    document_R = np.repeat(np.arange(len(batch.lengths)), batch.lengths)[rows_R.cpu().numpy()]
    sums_MD = np.zeros((3, len(batch.lengths)))
    for chunk, logits_CV in logits.in_chunks():
        log_q_CV = torch.log_softmax(logits_CV, 1)
        told = [-log_q_CV.gather(1, batch.targets_N[rows_R[chunk], None]).squeeze(1)]
        if teacher_logits is not None:
            told += _exact_rows(log_q_CV, teacher_logits(chunk))
        elif isinstance(theirs, SampledRows):
            told += _estimated_rows(log_q_CV, theirs, chunk)
        for measure, values_C in enumerate(told):
            # summed on the CPU, row after row: the same whatever the device and however rows were cut into chunks
            values = values_C.cpu().double().numpy()
            np.add.at(sums_MD[measure], document_R[chunk], values)
    return sums_MD


def _teacher_rows(
    teacher: LoadedModel | CachedTeacher | None, batch: PackedBatch, rows_R: Tensor, vocab: int
) -> TeacherRows | SampledRows | None:
    """What the teacher says of the rows, over the ids that the student has."""
    if teacher is None:
        return None
    if isinstance(teacher, LoadedModel):
        head = teacher.model.head()
        weight_UG = head.weight_VH.detach()[:vocab]
        return TeacherRows(hidden_RG=teacher.model(batch)[rows_R], weight_UG=weight_UG, scale=head.scale)
    (part,) = teacher.read(batch, rows_R).parts
    if not isinstance(part.rows, SampledRows):
        raise TypeError("a cache keeps a few entries of each row")
    ids_RK, probs_RK = within_vocabulary(part.rows, vocab, part.rows.probs_RK.dtype)
    return SampledRows(ids_RK=ids_RK, probs_RK=probs_RK, entropy_R=part.rows.entropy_R)


def _exact_rows(log_q_CV: Tensor, teacher_CU: Tensor) -> list[Tensor]:
    """KL and agreement of rows; the teacher's logits are used up."""
    log_p_CU = torch.log_softmax(teacher_CU, 1)
    agrees_C = log_q_CV.argmax(1) == log_p_CU.argmax(1)
    p_CU = torch.exp(log_p_CU, out=teacher_CU)
    kl_C = p_CU.mul_(log_p_CU.sub_(log_q_CV[:, : log_p_CU.shape[1]])).sum(1)
    return [kl_C.clamp(min=0.0), agrees_C]  # below 0 by rounding only


def _estimated_rows(log_q_CV: Tensor, theirs: SampledRows, chunk: slice) -> list[Tensor]:
    """KL from a row's entries, unbiased as these are, and whether the likeliest entry is the student's choice."""
    ids_CK, probs_CK = theirs.ids_RK[chunk], theirs.probs_RK[chunk]
    kl_C = -(probs_CK * log_q_CV.gather(1, ids_CK)).sum(1) - theirs.entropy_R[chunk]
    likeliest_C = ids_CK.gather(1, probs_CK.argmax(1, keepdim=True)).squeeze(1)
    return [kl_C, log_q_CV.argmax(1) == likeliest_C]
