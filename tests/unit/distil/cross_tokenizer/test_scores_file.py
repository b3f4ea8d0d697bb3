from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from across_language import LETTERS, MERGES, TEXTS, ExactModel, pair_of
from tiny_training import tiny_decoder

from spiritsafe.core.errors import CompatibilityError, IntegrityError, NumericalError, SourceError
from spiritsafe.distil.cross_tokenizer.pairing import PairedDocument
from spiritsafe.distil.cross_tokenizer.scores_file import (
    CachedChunkTeacher,
    ScoresHeader,
    capture_scores,
    scores_header,
)
from spiritsafe.distil.cross_tokenizer.teachers import LiveChunkTeacher

CPU = torch.device("cpu")
IDS = MERGES.boundary_ids()


@pytest.fixture(scope="module")
def pairs() -> list[PairedDocument]:
    return [pair_of(LETTERS, MERGES, text) for text in random.Random(2).sample(sorted(TEXTS), 24)]


def header(*, boundaries: bool = True, teacher: str = "sha256:t") -> ScoresHeader:
    fingerprint = MERGES.vocabulary.fingerprint
    ids = IDS if boundaries else None
    return scores_header(teacher=teacher, vocabulary=fingerprint, boundary_ids=ids, compute_dtype="float64")


def test_the_cache_says_what_the_live_teacher_says(tmp_path: Path, pairs: list[PairedDocument]) -> None:
    model = ExactModel(MERGES)
    path = tmp_path / "scores.npz"
    num_bytes = capture_scores(path, header(), model, pairs, boundary_ids=IDS, tokens_per_batch=16)
    assert num_bytes == path.stat().st_size
    cached, live = CachedChunkTeacher(path, header()), LiveChunkTeacher(model, boundary_ids=IDS)
    some = pairs[7:2:-1]
    for boundaries in (False, True):
        one, two = (t.read(some, device=CPU, boundaries=boundaries, starts=False) for t in (cached, live))
        torch.testing.assert_close(one.log_prob_K, two.log_prob_K, rtol=2e-3, atol=1e-3)
        assert (one.log_boundary_K is None) == (not boundaries)
        if one.log_boundary_K is not None and two.log_boundary_K is not None:
            torch.testing.assert_close(one.log_boundary_K, two.log_boundary_K, rtol=2e-3, atol=1e-3)


def test_two_bytes_a_token(tmp_path: Path, pairs: list[PairedDocument]) -> None:
    many = [pair_of(LETTERS, MERGES, text) for text in TEXTS]
    few = capture_scores(tmp_path / "few", header(boundaries=False), ExactModel(MERGES), pairs)
    all_bytes = capture_scores(tmp_path / "all", header(boundaries=False), ExactModel(MERGES), many)
    tokens = sum(p.alignment.chunk_B.size for p in many) - sum(p.alignment.chunk_B.size for p in pairs)
    # 2 bytes a token, and 40 a document for its name and place
    assert all_bytes - few == 2 * tokens + 40 * (len(many) - len(pairs))


def test_another_teacher_tokenizer_or_boundary_is_refused_by_name(tmp_path: Path, pairs: list[PairedDocument]) -> None:
    path = tmp_path / "scores.npz"
    capture_scores(path, header(), ExactModel(MERGES), pairs, boundary_ids=IDS)
    with pytest.raises(IntegrityError, match="another teacher"):
        CachedChunkTeacher(path, header(teacher="sha256:other"))
    with pytest.raises(IntegrityError, match="another vocabulary"):
        CachedChunkTeacher(path, header().model_copy(update={"vocabulary": LETTERS.vocabulary.fingerprint}))
    with pytest.raises(IntegrityError, match="another boundaries"):
        CachedChunkTeacher(path, header().model_copy(update={"boundaries": "sha256:x"}))
    assert CachedChunkTeacher(path, header(boundaries=False)).describe()["teacher"] == "sha256:t"
    without = tmp_path / "without.npz"
    capture_scores(without, header(boundaries=False), ExactModel(MERGES), pairs)
    with pytest.raises(IntegrityError, match="another boundaries"):
        CachedChunkTeacher(without, header())
    with pytest.raises(CompatibilityError, match="realised tokens only"):
        CachedChunkTeacher(without, header(boundaries=False)).read(pairs, device=CPU, boundaries=True, starts=False)
    with pytest.raises(CompatibilityError, match="realised tokens only"):
        CachedChunkTeacher(path, header()).read(pairs, device=CPU, boundaries=False, starts=True)
    with pytest.raises(CompatibilityError, match="other boundary tokens"):
        capture_scores(path, header(), ExactModel(MERGES), pairs, boundary_ids=IDS[1:])


def test_documents_that_were_not_captured_are_refused(tmp_path: Path, pairs: list[PairedDocument]) -> None:
    path = tmp_path / "scores.npz"
    capture_scores(path, header(boundaries=False), ExactModel(MERGES), pairs[1:])
    cached = CachedChunkTeacher(path, header(boundaries=False))
    with pytest.raises(CompatibilityError, match=pairs[0].teacher_key[:12]):
        cached.read(pairs[:1], device=CPU, boundaries=False, starts=False)


def test_the_same_tokens_with_another_mask_are_another_document(tmp_path: Path, pairs: list[PairedDocument]) -> None:
    path, pair = tmp_path / "scores.npz", pairs[0]
    capture_scores(path, header(boundaries=False), ExactModel(MERGES), pairs)
    moved = replace(pair, teacher=replace(pair.teacher, supervised=(*pair.teacher.supervised[1:], False)))
    with pytest.raises(CompatibilityError, match="no scores of the document"):
        CachedChunkTeacher(path, header(boundaries=False)).read([moved], device=CPU, boundaries=False, starts=False)


def test_damage_is_noticed(tmp_path: Path, pairs: list[PairedDocument]) -> None:
    path = tmp_path / "scores.npz"
    with pytest.raises(SourceError, match="no file"):
        CachedChunkTeacher(path, header())
    capture_scores(path, header(), ExactModel(MERGES), pairs, boundary_ids=IDS)
    whole = path.read_bytes()
    middle = len(whole) // 2
    for damaged in (whole[:middle], b"", whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]):
        path.write_bytes(damaged)
        with pytest.raises(IntegrityError, match="damaged"):
            CachedChunkTeacher(path, header())


def test_a_broken_teacher_is_not_captured(tmp_path: Path, pairs: list[PairedDocument]) -> None:
    model = tiny_decoder(vocab=len(MERGES.vocabulary.spellings))
    torch.nn.init.constant_(model.head().weight_VH, float("nan"))
    single = header(boundaries=False).model_copy(update={"compute_dtype": "float32"})
    with pytest.raises(NumericalError):
        capture_scores(tmp_path / "scores.npz", single, model, pairs)
    assert not (tmp_path / "scores.npz").exists()


def test_scores_of_another_number_format_are_refused(tmp_path: Path, pairs: list[PairedDocument]) -> None:
    wrong = header().model_copy(update={"compute_dtype": "bfloat16"})
    with pytest.raises(CompatibilityError, match="number format"):
        capture_scores(tmp_path / "scores.npz", wrong, ExactModel(MERGES), pairs, boundary_ids=IDS)
    capture_scores(tmp_path / "scores.npz", header(), ExactModel(MERGES), pairs, boundary_ids=IDS)
    with pytest.raises(IntegrityError, match="compute_dtype"):
        CachedChunkTeacher(tmp_path / "scores.npz", wrong)
