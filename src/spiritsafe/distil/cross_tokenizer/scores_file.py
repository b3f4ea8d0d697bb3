"""Log-probabilities of realised tokens on disk, about 2 bytes a token: all that chunk likelihoods need of a teacher.

In: paired documents and a teacher, live or any Generator that scores. Out: one ``.npz`` file, whole or absent, found
again by the teacher's tokens and which of them are supervised; it names the teacher and both vocabularies and is
refused for others. Values are float16 (relative error 0.05 %). Shapes: T supervised tokens of the teacher.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from spiritsafe.core.canonical import JSON, digest
from spiritsafe.core.errors import CompatibilityError, IntegrityError, NumericalError, SourceError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.atomic import atomic_path
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Message, Record
from spiritsafe.distil.cross_tokenizer.pairing import PairedDocument
from spiritsafe.distil.cross_tokenizer.teachers import ChunkScores, TokenScores, chunk_scores, score_documents
from spiritsafe.models import LanguageModel

_FORMAT = 2


class ScoresHeader(Record):
    """Whose scores a file holds.

    Attributes:
        teacher: Digest of the teacher's checkpoint, or of an endpoint.
        vocabulary: Fingerprint of the teacher's vocabulary as bytes.
        boundaries: Digest of the boundary tokens whose probability is kept; None when it is not.
        compute_dtype: Of the teacher's weights when it was scored ("endpoint" when a server keeps that to itself).
    """

    format: int = _FORMAT
    teacher: str
    vocabulary: str
    boundaries: str | None = None
    compute_dtype: str = "float32"


def scores_header(
    *, teacher: str, vocabulary: str, boundary_ids: Sequence[int] | None = None, compute_dtype: str = "float32"
) -> ScoresHeader:
    """The header of a file for this teacher.

    Args:
        teacher: Digest of its checkpoint (``LoadedModel.checkpoint.digest``).
        vocabulary: ``TokenBytes.fingerprint`` of its tokenizer.
        boundary_ids: Its boundary tokens, when debiased likelihoods are wanted.
        compute_dtype: Of its weights, as torch names it; "endpoint" behind a server.
    """
    boundaries = None if boundary_ids is None else digest(list(boundary_ids))
    return ScoresHeader(teacher=teacher, vocabulary=vocabulary, boundaries=boundaries, compute_dtype=compute_dtype)


def capture_scores(
    path: Path,
    header: ScoresHeader,
    model: LanguageModel,
    pairs: Iterable[PairedDocument],
    *,
    boundary_ids: Sequence[int] | None = None,
    tokens_per_batch: int = 4096,
    events: EventSink | None = None,
) -> int:
    """Score the teacher's documents with a live model and keep the result.

    Args:
        pairs: Documents; each of the teacher's is scored once.
        boundary_ids: As given to :func:`scores_header`.
        tokens_per_batch: Most tokens of one forward pass (a longer document is a batch of its own).

    Returns:
        Bytes of the file.

    Raises:
        CompatibilityError: Header and boundary tokens do not belong together.
        NumericalError: The teacher's log-probabilities are not finite.
        StorageError: The file cannot be written.
    """
    expected = scores_header(
        teacher=header.teacher,
        vocabulary=header.vocabulary,
        boundary_ids=boundary_ids,
        compute_dtype=model.number_format,
    )
    if header != expected:
        raise CompatibilityError(
            "The header names other boundary tokens, or another number format, than are captured.",
            hint="Give capture_scores the boundary_ids that the header was made with, and scores_header the teacher's "
            f"compute_dtype, {expected.compute_dtype}.",
        )
    unique = {pair.teacher_key: pair for pair in pairs}
    scores: dict[str, TokenScores] = {}
    events = events or NullSink()
    for batch in _batches(list(unique.values()), tokens_per_batch):
        found, _ = score_documents(model, [pair.teacher for pair in batch], boundary_ids=boundary_ids)
        if not bool(found.log_prob_T.isfinite().all()):
            raise NumericalError(
                "The teacher gives log-probabilities that are not finite.",
                hint="Its weights are damaged, or it overflows in this dtype: load it in float32.",
            )
        start = 0
        for pair in batch:
            stop = start + pair.alignment.chunk_B.size
            boundary_T = found.log_boundary_T
            scores[pair.teacher_key] = TokenScores(
                log_prob_T=found.log_prob_T[start:stop],
                log_boundary_T=None if boundary_T is None else boundary_T[start:stop],
            )
            start = stop
        events.progress(len(scores), len(unique), "documents")
    return _write(path, header, scores)


def capture_scores_from(
    path: Path,
    header: ScoresHeader,
    generator: Generator,
    pairs: Sequence[PairedDocument],
    conversations: Sequence[tuple[tuple[Message, ...], str]],
) -> int:
    """Score the completions with any Generator that can and keep the result.

    A Generator scores a completion without its end token, so chunks of end tokens stay unknown.

    Args:
        header: Whose scores these are; without boundaries, which a Generator does not tell.
        generator: The teacher, local or remote.
        conversations: For each of them its messages and completion.

    Returns:
        Bytes of the file.

    Raises:
        CompatibilityError: The Generator cannot score, or cuts a completion into another number of tokens than the
            teacher's tokenizer does here.
        StorageError: The file cannot be written.
    """
    if header.boundaries is not None:
        raise CompatibilityError(
            "A Generator's scores hold no boundaries.", hint="Capture with a live model, or without debiasing."
        )
    answers = generator.score([messages for messages, _ in conversations], [text for _, text in conversations])
    scores: dict[str, TokenScores] = {}
    for pair, answer in zip(pairs, answers, strict=True):
        wanted = pair.alignment.chunk_B.size
        # A chunk without bytes is a special token's, and as the last one the end token, which no Generator scores.
        if len(answer) != wanted - int(pair.alignment.bytes_K[-1] == 0):
            raise CompatibilityError(
                f"The teacher scored {len(answer)} tokens of a completion that has {wanted} here, its end included.",
                hint="Pair the documents with the tokenizer of the model that scores.",
            )
        values = torch.full((wanted,), float("nan"))
        values[: len(answer)] = torch.tensor(answer)
        scores[pair.teacher_key] = TokenScores(log_prob_T=values)
    return _write(path, header, scores)


def _batches(pairs: list[PairedDocument], most_tokens: int) -> Iterable[list[PairedDocument]]:
    waiting: list[PairedDocument] = []
    held = 0
    for pair in sorted(pairs, key=lambda pair: len(pair.teacher.token_ids)):
        if waiting and held + len(pair.teacher.token_ids) > most_tokens:
            yield waiting
            waiting, held = [], 0
        waiting.append(pair)
        held += len(pair.teacher.token_ids)
    if waiting:
        yield waiting


def _write(path: Path, header: ScoresHeader, scores: Mapping[str, TokenScores]) -> int:
    def half(parts: list[torch.Tensor]) -> NDArray[np.float16]:
        values = torch.cat(parts) if parts else torch.zeros(0)
        return values.clamp(min=-6e4).to(torch.float16).cpu().numpy()

    keys = sorted(scores)
    boundaries = [b for key in keys if (b := scores[key].log_boundary_T) is not None]
    arrays: dict[str, NDArray[Any]] = {
        "header": np.frombuffer(header.canonical(), dtype=np.uint8),
        "keys": np.frombuffer(b"".join(bytes.fromhex(key) for key in keys), dtype=np.uint8).reshape(-1, 32),
        "ends": np.cumsum([scores[key].log_prob_T.numel() for key in keys], dtype=np.int64),
        "log_prob": half([scores[key].log_prob_T for key in keys]),
    }
    if header.boundaries is not None:
        arrays["log_boundary"] = half(boundaries)
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            # A name without a date: the same scores are the same bytes.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return path.stat().st_size


def _gather(values: NDArray[Any], places: Sequence[slice], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([values[p] for p in places]).astype(np.float32)).to(device)


def _load(path: Path) -> dict[str, NDArray[Any]]:
    """The file's arrays.

    Raises:
        SourceError: It is missing.
        IntegrityError: It is damaged.
    """
    if not path.is_file():
        raise SourceError(f"There is no file {path}.", hint="Capture the teacher's scores first.")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"{path} is damaged: {error}.", hint="Capture the scores again.") from error
    if missing := {"header", "keys", "ends", "log_prob"} - arrays.keys():
        raise IntegrityError(f"{path} lacks {', '.join(sorted(missing))}.", hint="Capture the scores again.")
    return arrays


@final
class CachedChunkTeacher:
    """A file of scores in the teacher's place: no teacher in memory, no forward pass.

    Args:
        header: Whose scores it must hold.

    Raises:
        SourceError: The file is missing.
        IntegrityError: It is damaged, or holds the scores of another teacher, tokenizer or set of boundary tokens.
    """

    def __init__(self, path: Path, header: ScoresHeader) -> None:
        arrays = _load(path)
        found = ScoresHeader.from_json(json.loads(arrays["header"].tobytes()))
        # A file that also holds boundaries serves a run that needs none.
        same = found if header.boundaries is not None else found.model_copy(update={"boundaries": None})
        if same != header:
            differing = [name for name, value in header.to_json().items() if same.to_json()[name] != value]
            raise IntegrityError(
                f"{path} holds scores of another {' and '.join(differing)}.",
                hint="Capture the scores again with this teacher, or point to its own file.",
            )
        self._path, self._header = path, header
        self._log_prob, self._log_boundary = arrays["log_prob"], arrays.get("log_boundary")
        starts = np.concatenate(([0], arrays["ends"]))
        names = [row.tobytes().hex() for row in arrays["keys"]]
        self._place = {key: slice(int(a), int(b)) for key, a, b in zip(names, starts, starts[1:], strict=False)}
        held = {array.size for array in (self._log_prob, self._log_boundary) if array is not None}
        if held != {int(starts[-1])} or len(names) != len(starts) - 1:
            raise IntegrityError(f"{path} is not whole.", hint="Capture the scores again.")

    def describe(self) -> dict[str, JSON]:
        """Whose scores; float16 is part of what they are."""
        return {"signal": "cached", "dtype": "float16", **self._header.to_json()}

    def read(
        self, pairs: Sequence[PairedDocument], *, device: torch.device, boundaries: bool, starts: bool
    ) -> ChunkScores:
        """Look the documents up.

        Raises:
            CompatibilityError: Distributions are wanted, boundaries that the file does not have, or a document that it
                does not have (another prompt is another document).
        """
        if starts or (boundaries and self._log_boundary is None):
            raise CompatibilityError(
                f"{self._path} holds log-probabilities of realised tokens only.",
                hint="Use a live teacher, set one_to_one to 0, or capture the scores with boundary tokens.",
            )
        places = []
        for pair in pairs:
            if (place := self._place.get(pair.teacher_key)) is None:
                raise CompatibilityError(
                    f"{self._path} has no scores of the document {pair.teacher_key[:12]}….",
                    hint="Capture scores of the same documents, with the same prompts, that are trained on.",
                )
            places.append(place)
        scores = TokenScores(
            log_prob_T=_gather(self._log_prob, places, device),
            log_boundary_T=_gather(self._log_boundary, places, device)
            if boundaries and self._log_boundary is not None
            else None,
        )
        return chunk_scores(pairs, scores)
