from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cache_parts import random_rows

from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.distil.cache import Fingerprint, TeacherIdentity
from spiritsafe.distil.cache.config import CacheManifest, ShardPlan
from spiritsafe.distil.cache.shards import Shard, encode_document, is_whole, write_cache_shard
from spiritsafe.distil.signal import document_key

IDENTITY = TeacherIdentity(teacher="t", tokenizer="k", chat_template="c", compute_dtype="float32", vocab_size=300)


def _manifest(seed: int = 0) -> CacheManifest:
    return CacheManifest(
        fingerprint=Fingerprint(identity=IDENTITY, estimator="threshold", parameters={}, seed=seed),
        micro_batch_tokens=5,
        shards=tuple(ShardPlan(file=f"s{n}", num_documents=3, num_rows=3, documents="d") for n in range(2)),
    )


POSITIONS = [np.array([4, 5, 6, 11, 12]), np.array([0]), np.arange(7, 40)]


def _write(path: Path, manifest: CacheManifest) -> list[tuple[np.ndarray, object]]:
    rng = np.random.default_rng(5)
    rows = [random_rows(rng, num_rows=len(positions), vocab=300) for positions in POSITIONS]
    blocks = [
        (document_key([n]), encode_document(p, r, 300, rng.random((len(p), 13))))
        for n, (p, r) in enumerate(zip(POSITIONS, rows, strict=True))
    ]
    write_cache_shard(path, manifest, 0, blocks)
    return list(zip(POSITIONS, rows, strict=True))


def test_documents_come_back_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "shard-00000.rows"
    written = _write(path, _manifest())
    shard = Shard(path, _manifest(), 0)
    assert is_whole(path, _manifest(), 0)
    for place in (2, 0, 1):
        positions, rows = shard.document(place)
        np.testing.assert_array_equal(positions, written[place][0])
        np.testing.assert_array_equal(rows.head_ids_F, written[place][1].head_ids_F)
        np.testing.assert_array_equal(rows.tail_ids_D, written[place][1].tail_ids_D)


def _flip(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda data: data[:-1], "bytes instead of"),
        (lambda data: data + b"x", "bytes instead of"),
        (lambda data: data[:40], "cut off"),
        (lambda data: b"", "cut off"),
        (_flip(3), "no shard of a teacher cache"),
        (_flip(20), "another cache"),
        (_flip(70), "damaged index"),
        (_flip(64 + 17), "damaged index"),
    ],
)
def test_each_damage_is_refused_by_file_name(tmp_path: Path, damage: Callable[[bytes], bytes], match: str) -> None:
    path = tmp_path / "shard-00000.rows"
    _write(path, _manifest())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(IntegrityError, match=rf"shard-00000\.rows.*{match}"):
        Shard(path, _manifest(), 0)
    assert not is_whole(path, _manifest(), 0)


def test_every_flipped_bit_of_every_block_is_noticed_and_other_documents_stay_readable(tmp_path: Path) -> None:
    path = tmp_path / "shard-00000.rows"
    _write(path, _manifest())
    data = path.read_bytes()
    start = 64 + 3 * 24
    for at in range(start, len(data), 7):
        path.write_bytes(_flip(at)(data))
        shard = Shard(path, _manifest(), 0)
        ends = start + np.cumsum(shard.sizes)
        hit = int(np.searchsorted(ends, at, side="right"))
        with pytest.raises(IntegrityError, match=rf"shard-00000\.rows is damaged \(document {hit}\)"):
            shard.document(hit)
        shard.document((hit + 1) % 3)


def test_a_shard_of_another_cache_or_another_place_is_foreign(tmp_path: Path) -> None:
    path = tmp_path / "shard-00000.rows"
    _write(path, _manifest())
    for manifest, number in ((_manifest(seed=1), 0), (_manifest(), 1)):
        with pytest.raises(IntegrityError, match=r"shard-00000\.rows belongs to another cache"):
            Shard(path, manifest, number)
    with pytest.raises(SourceError, match="unfinished"):
        Shard(tmp_path / "shard-00001.rows", _manifest(), 1)
