from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cache_parts import open_cache, tiny_documents, tiny_teacher

from spiritsafe.core.errors import CompatibilityError, IntegrityError, SourceError
from spiritsafe.distil.cache import CachedTeacher, CaptureConfig, capture, read_cache_manifest, teacher_identity
from spiritsafe.distil.signal import SampledRows
from spiritsafe.models.interface.batch import IGNORED, Document, PackedBatch, pack_documents, shared_prefix

CONFIG = CaptureConfig(threshold=0.03, rows_per_shard=100)


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cache")
    capture(tiny_teacher(), tiny_documents(16), CONFIG, directory)
    return directory


def _read(cache: CachedTeacher, batch: PackedBatch) -> tuple[torch.Tensor, SampledRows]:
    rows_R = (batch.targets_N != IGNORED).nonzero().squeeze(1)
    (part,) = cache.read(batch, rows_R).parts
    assert part.index_S is None
    assert isinstance(part.rows, SampledRows)
    return rows_R, part.rows


def _dense(rows: SampledRows) -> torch.Tensor:
    return torch.zeros(len(rows.ids_RK), 260).scatter_add_(1, rows.ids_RK, rows.probs_RK)


def test_rows_follow_their_documents_in_any_batch_with_and_without_a_shared_prefix(cached: Path) -> None:
    cache, documents = open_cache(cached), tiny_documents(16)
    alone = {d: _dense(_read(cache, pack_documents([d]))[1]) for d in documents}
    chosen = [documents[i] for i in (9, 2, 14, 2)]
    prefix = shared_prefix(chosen)
    assert prefix > 3
    for length in (0, prefix):
        batch = pack_documents(chosen, prefix_length=length)
        rows_R, rows = _read(cache, batch)
        assert (rows.ids_RK.dtype, rows.probs_RK.dtype) == (torch.int64, torch.float32)
        torch.testing.assert_close(rows.probs_RK.sum(1), torch.ones(len(rows_R)))
        torch.testing.assert_close(_dense(rows), torch.cat([alone[d] for d in chosen]))
        assert rows.unbiased
    assert cache.vocab_size == 260
    assert cache.shares_prefixes


def test_some_rows_of_a_batch_can_be_read(cached: Path) -> None:
    cache = open_cache(cached)
    batch = pack_documents(tiny_documents(16)[:3])
    rows_R, rows = _read(cache, batch)
    (part,) = cache.read(batch, rows_R[[1, 7, 20]]).parts
    assert isinstance(part.rows, SampledRows)
    torch.testing.assert_close(_dense(part.rows), _dense(rows)[[1, 7, 20]])
    torch.testing.assert_close(part.rows.entropy_R, rows.entropy_R[[1, 7, 20]])


def test_what_the_cache_does_not_hold_is_refused(cached: Path) -> None:
    cache, known = open_cache(cached), tiny_documents(16)[0]
    batch = pack_documents([known])
    with pytest.raises(CompatibilityError, match="hidden states"):
        cache.read(batch, torch.tensor([3]), layers=(1,))
    unknown = Document(token_ids=(*known.token_ids, 5), supervised=(*known.supervised, True))
    with pytest.raises(CompatibilityError, match="not in the teacher cache"):
        _read(cache, pack_documents([unknown]))
    wider = Document(token_ids=known.token_ids, supervised=(False,) + (True,) * (len(known.token_ids) - 1))
    with pytest.raises(CompatibilityError, match=r"Row 0 of the document .* was not captured"):
        _read(cache, pack_documents([wider]))


def test_a_cache_of_another_teacher_tokenizer_template_dtype_or_estimator_is_refused(cached: Path) -> None:
    identity = teacher_identity(tiny_teacher())
    right = {
        "tokenizer": identity.tokenizer,
        "teacher": identity.teacher,
        "chat_template": identity.chat_template,
        "compute_dtype": "float32",
    }
    CachedTeacher(cached, **right, config=CONFIG)
    for field in right:
        with pytest.raises(CompatibilityError, match=f"{field}: expected other, found {right[field]}"):
            CachedTeacher(cached, **{**right, field: "other"})
    with pytest.raises(CompatibilityError, match=r"parameters: expected .*0.01.*, found .*0.03"):
        CachedTeacher(cached, **right, config=CaptureConfig(threshold=0.01))
    with pytest.raises(CompatibilityError, match="estimator: expected head_and_draws, found threshold"):
        CachedTeacher(cached, **right, config=CaptureConfig(num_head=4, num_draws=4))
    assert open_cache(cached).describe()["parameters"] == {"threshold": 0.03}


def test_missing_unfinished_and_damaged_caches_are_refused_by_name(cached: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no teacher cache"):
        read_cache_manifest(tmp_path)
    for path in cached.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    open_cache(tmp_path)
    (tmp_path / "shard-00001.rows").unlink()
    with pytest.raises(SourceError, match=r"shard-00001\.rows is missing"):
        open_cache(tmp_path)
    (tmp_path / "shard-00001.rows").write_bytes((cached / "shard-00000.rows").read_bytes())
    with pytest.raises(IntegrityError, match=r"shard-00001\.rows belongs to another cache"):
        open_cache(tmp_path)
    (tmp_path / "cache.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"cache\.json is damaged"):
        open_cache(tmp_path)
