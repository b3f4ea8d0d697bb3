"""A short race between students of different shapes: each is healed alike for a few steps, then all are measured.

In: cut students on disk, their teacher, documents, and how to heal. Out: a ranking by KL to the teacher or by loss on
held-out documents. A model's loss right after the cut does not tell how well it heals, so shapes are chosen by this.
Each finished student leaves ``<name>/result.json``; a race that was interrupted continues where it stopped. Shapes:
N tokens, R supervised rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from spiritsafe.core.canonical import canonical_json, digest
from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.atomic import ensure_directory, read_json, write_json
from spiritsafe.core.records import Record
from spiritsafe.models import (
    IGNORED,
    Decoder,
    Document,
    LanguageModel,
    head_logits,
    load_model,
    pack_documents,
    read_cut_plan,
    renumber_documents,
    renumbered,
    with_vocabulary,
)
from spiritsafe.training import (
    SITTING_FIELDS,
    Objective,
    TrainConfig,
    discard_state,
    document_arrays,
    document_digests,
    train,
    weights_fingerprint,
    write_documents,
)

_RESULT = "result.json"
_DOCUMENTS = "documents.bin"
_HEAD_ROWS = 256


@final
class Closeness(Record):
    """How close a student is to its teacher on the supervised tokens of some documents; means, in nats.

    Attributes:
        loss: The student's cross-entropy.
        kl: ``KL(teacher ‖ student)``, the teacher renormalised over the tokens that the student has.
        agreement: Share of tokens where both hold the same one likeliest.
        missing_mass: What the teacher gives to tokens that the student lacks; 0 for a whole vocabulary.
    """

    loss: float
    teacher_loss: float
    kl: float
    agreement: float
    missing_mass: float


@final
class RaceResult(Record):
    """One student's race.

    Attributes:
        inputs: Digest of everything that the figures depend on.
        before: Right after the cut.
        after: After healing.
        steps: Of healing.
        tokens: Read while healing.
        weight_bytes: As on disk.
        seconds: Spent in steps; not part of the ranking.
    """

    name: str
    inputs: str
    before: Closeness
    after: Closeness
    steps: int
    tokens: int
    weight_bytes: int
    seconds: float


def race(
    students: Mapping[str, Path],
    teacher: Decoder,
    documents: Sequence[Document],
    held_out: Sequence[Document],
    config: TrainConfig,
    make_objective: Callable[[LanguageModel], Objective],
    *,
    directory: Path,
    score: Literal["kl", "loss"] = "kl",
    dtype: torch.dtype = torch.float32,
    events: EventSink | None = None,
) -> tuple[RaceResult, ...]:
    """Heal each student alike and rank them.

    Args:
        students: Name → directory that :func:`spiritsafe.models.cut` wrote.
        teacher: What they were cut from, on the device to heal on.
        documents: What all learn from, in the teacher's tokens; students of a trimmed vocabulary read them renumbered.
        held_out: What all are measured on; no document of it is learnt from.
        config: How to heal; the same seed, so the same order of documents, for all.
        make_objective: Given the teacher (restricted to a student's vocabulary where that is trimmed), what that
            student minimises.
        directory: For ``<name>/result.json`` and the training's metrics.
        score: What the ranking goes by.
        dtype: Of the students' weights in memory before training takes them over.
        events: Hears of progress, each training step and each result.

    Returns:
        Results, the best first.

    Raises:
        RecipeError: No students, or a held-out document is also learnt from.
        CompatibilityError: A document holds a token that a student's vocabulary lacks.
        NumericalError: A loss is not finite.
        IntegrityError: The directory holds another race's unfinished training.
    """
    if not students:
        raise RecipeError("There are no students to race.", hint="Cut some first.")
    if np.intersect1d(document_digests(documents), document_digests(held_out)).size:
        raise RecipeError(
            "A held-out document is also learnt from.", hint="Split the documents before the race, not after."
        )
    events = events or NullSink()
    results: list[RaceResult] = []
    for done, (name, source) in enumerate(students.items()):
        events.progress(done, len(students), "students", name)
        lane = ensure_directory(directory / name)
        result = _run_one(
            name, source, lane, teacher, documents, held_out, config, make_objective, dtype=dtype, events=events
        )
        events.metrics("race_result", result.to_json())
        results.append(result)
    events.progress(len(students), len(students), "students")
    return tuple(sorted(results, key=lambda result: (getattr(result.after, score), result.name)))


def _run_one(
    name: str,
    source: Path,
    lane: Path,
    teacher: Decoder,
    documents: Sequence[Document],
    held_out: Sequence[Document],
    config: TrainConfig,
    make_objective: Callable[[LanguageModel], Objective],
    *,
    dtype: torch.dtype,
    events: EventSink,
) -> RaceResult:
    """1. what it depends on, 2. an earlier result, 3. measure, heal, measure, 4. the result."""
    student = load_model(source, dtype=dtype, device=teacher.device, implementation="decoder")
    plan = read_cut_plan(source)
    kept_ids = None if plan is None else plan.kept_ids
    speaker = teacher if kept_ids is None else with_vocabulary(teacher, kept_ids)
    objective = make_objective(speaker)
    inputs = digest(  # 1.
        {
            "student": student.checkpoint.digest,
            "dtype": str(dtype),
            "teacher": weights_fingerprint(teacher),
            "objective": objective.describe(),
            "config": config.model_dump(mode="json", exclude=set(SITTING_FIELDS)),
            "documents": _documents_digest(documents),
            "held_out": _documents_digest(held_out),
        }
    )
    if (lane / _RESULT).is_file():  # 2.
        earlier = RaceResult.from_json(read_json(lane / _RESULT))
        is_same = earlier.inputs == inputs
        if not is_same:
            (lane / _RESULT).unlink()
        discard_state(lane)  # also what a kill right after the result left
        if is_same:
            return earlier
    mine = documents if kept_ids is None else write_documents(lane / _DOCUMENTS, renumbered(documents, kept_ids))  # 3.
    before = measure_closeness(student.model, teacher, held_out, kept_ids=kept_ids)
    trained = train(student.model, mine, objective, config, directory=lane, events=events)
    student.model.eval()
    after = measure_closeness(student.model, teacher, held_out, kept_ids=kept_ids)
    result = RaceResult(  # 4.
        name=name,
        inputs=inputs,
        before=before,
        after=after,
        steps=trained.steps,
        tokens=trained.tokens,
        weight_bytes=student.checkpoint.weight_bytes,
        seconds=trained.seconds,
    )
    write_json(lane / _RESULT, result.to_json())
    discard_state(lane)
    (lane / _DOCUMENTS).unlink(missing_ok=True)
    return result


def _documents_digest(documents: Sequence[Document]) -> str:
    """The digest of a list of ids, flags and weight for each document, as canonical JSON; no more than one is held."""
    hasher = sha256(b"[")
    for place, (ids, flags, weight, _) in enumerate(document_arrays(documents)):
        numbers = (",".join(map(str, part.tolist())) for part in (ids, flags.astype(np.int64)))
        row = ",".join([*(f"[{part}]" for part in numbers), canonical_json(weight).decode()])
        hasher.update(f"{',' if place else ''}[{row}]".encode())
    hasher.update(b"]")
    return f"sha256:{hasher.hexdigest()}"


@torch.no_grad()
def measure_closeness(
    student: LanguageModel,
    teacher: LanguageModel,
    documents: Sequence[Document],
    *,
    kept_ids: Sequence[int] | None = None,
) -> Closeness:
    """Loss, KL and agreement of a student with its teacher, a document at a time.

    Args:
        student: In any dtype; distributions are compared in float32.
        teacher: On the same device.
        documents: In the teacher's tokens.
        kept_ids: The student's vocabulary in the teacher's ids; None: the same.

    Raises:
        CompatibilityError: The vocabularies differ, a document holds a token that the student lacks, or none
            supervises a token.
    """
    num_tokens = teacher.vocab_size if kept_ids is None else len(kept_ids)
    if student.vocab_size != num_tokens:
        raise CompatibilityError(
            f"The student has {student.vocab_size} tokens, {num_tokens} were to be compared.",
            hint="Give the kept ids of the student's cut plan.",
        )
    translated = list(documents) if kept_ids is None else renumber_documents(documents, kept_ids)
    device = teacher.head().weight_VH.device
    kept_U = None if kept_ids is None else torch.tensor(kept_ids, device=device)
    sums = torch.zeros(5, dtype=torch.float64)
    num_rows = 0
    for theirs, ours in zip(documents, translated, strict=True):
        teacher_batch, student_batch = pack_documents([theirs]).to(device), pack_documents([ours]).to(device)
        hidden_NG, hidden_NH = teacher(teacher_batch), student(student_batch)
        rows = torch.nonzero(student_batch.targets_N != IGNORED).squeeze(1)
        num_rows += rows.numel()
        for part_R in torch.split(rows, _HEAD_ROWS):
            logp_RV = _log_probabilities(teacher, hidden_NG[part_R])
            logq_RU = _log_probabilities(student, hidden_NH[part_R])
            sums += _compare(logp_RV, logq_RU, student_batch.targets_N[part_R], kept_U)
    if num_rows == 0:
        raise CompatibilityError("The documents supervise no token.", hint="Give documents with completions.")
    loss, teacher_loss, kl, agreement, missing = (sums / num_rows).tolist()
    return Closeness(loss=loss, teacher_loss=teacher_loss, kl=kl, agreement=agreement, missing_mass=missing)


def _log_probabilities(model: LanguageModel, hidden_RH: Tensor) -> Tensor:
    return functional.log_softmax(head_logits(model.head(), hidden_RH), dim=-1)


def _compare(logp_RV: Tensor, logq_RU: Tensor, targets_R: Tensor, kept_U: Tensor | None) -> Tensor:
    """Sums over rows of loss, teacher's loss, KL, agreement and missing mass, float64."""
    missing = torch.zeros((), dtype=torch.float64)
    logp_RU = logp_RV
    own_R = targets_R
    if kept_U is not None:
        own_R = kept_U[targets_R]
        kept_mass_R = logp_RV[:, kept_U].exp().sum(1, dtype=torch.float64)
        missing = (1.0 - kept_mass_R).clamp_min(0.0).sum()
        logp_RU = functional.log_softmax(logp_RV[:, kept_U], dim=-1)
    kl = (logp_RU.exp() * (logp_RU - logq_RU)).sum(dtype=torch.float64)
    loss = -logq_RU.gather(1, targets_R[:, None]).sum(dtype=torch.float64)
    teacher_loss = -logp_RV.gather(1, own_R[:, None]).sum(dtype=torch.float64)
    agreement = (logp_RU.argmax(1) == logq_RU.argmax(1)).sum().double()
    return torch.stack((loss, teacher_loss, kl, agreement, missing.to(kl.device))).cpu()
