from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from spiritsafe.core.errors import CompatibilityError, IntegrityError, SourceError
from spiritsafe.models.interface.batch import Document, DrawnCompletion
from spiritsafe.training.data.documents import (
    DocumentStore,
    document_arrays,
    document_digests,
    document_lengths,
    supervised_counts,
    write_documents,
)

LARGEST = 2**31 - 1


def some(count: int, *, seed: int = 0) -> Iterator[Document]:
    rng = random.Random(seed)
    for _ in range(count):
        length = rng.randrange(0, 30)
        yield Document(
            token_ids=tuple(rng.choice((0, 1, rng.randrange(300_000), LARGEST)) for _ in range(length)),
            supervised=tuple(rng.random() < 0.5 for _ in range(length)),
            weight=rng.choice((1.0, 0.0, 1 / 3, 1e-300)),
        )


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DocumentStore:
    if request.param == "memory":
        return DocumentStore.of(some(50))
    return write_documents(tmp_path / "documents.bin", some(50))


def test_a_store_is_the_list_that_it_was_made_of(store: DocumentStore) -> None:
    wanted = list(some(50))
    assert list(store) == wanted
    assert [store[-1], store[49]] == [wanted[-1]] * 2
    assert all(type(value) is int for value in store[3].token_ids)
    assert all(type(flag) is bool for flag in store[3].supervised)
    assert list(store[7:40:3]) == wanted[7:40:3]
    assert list(store[10:][:5]) == wanted[10:15]
    assert list(store.select(np.array([4, 4, 0]))) == [wanted[4], wanted[4], wanted[0]]
    with pytest.raises(IndexError):
        store[50]


def test_what_it_knows_of_all_is_what_its_documents_say(store: DocumentStore) -> None:
    wanted = list(some(50))
    assert store.lengths.tolist() == document_lengths(wanted).tolist() == [len(d.token_ids) for d in wanted]
    assert supervised_counts(store).tolist() == supervised_counts(wanted).tolist()
    assert supervised_counts(wanted).tolist() == [sum(d.supervised[1:]) for d in wanted]
    assert store.largest_ids.tolist() == [max(d.token_ids, default=0) for d in wanted]
    assert store.num_tokens == sum(len(d.token_ids) for d in wanted)
    assert store[20:].num_supervised == sum(sum(d.supervised[1:]) for d in wanted[20:])
    for ours, theirs in zip(document_arrays(store), document_arrays(wanted), strict=True):
        assert ours.ids.tobytes() == theirs.ids.tobytes()
        assert ours.flags.tobytes() == theirs.flags.tobytes()
        assert ours.weight == theirs.weight


def test_the_same_sequences_have_the_same_digest_whatever_holds_them(store: DocumentStore) -> None:
    wanted = list(some(50))
    assert document_digests(store).tobytes() == document_digests(wanted).tobytes()
    one = np.asarray(wanted[9].token_ids, dtype="<i4").tobytes()
    assert document_digests(wanted)[9].tobytes() == sha256(one).digest()[:16]
    assert len(np.unique(document_digests([*wanted, *wanted]))) == len({d.token_ids for d in wanted})


def test_there_may_be_none(tmp_path: Path) -> None:
    for empty in (DocumentStore.of([]), write_documents(tmp_path / "documents.bin", [])):
        assert (list(empty), empty.num_tokens, len(empty[:3])) == ([], 0, 0)


def test_a_token_takes_four_bytes_and_writing_holds_one_document(tmp_path: Path) -> None:
    long = Document(token_ids=tuple(range(100_000, 101_000)), supervised=(False,) * 500 + (True,) * 500)
    tracemalloc.start()
    store = write_documents(tmp_path / "documents.bin", (replace(long, weight=float(n)) for n in range(300)))
    del long
    peak, held = tracemalloc.get_traced_memory()[1], tracemalloc.get_traced_memory()[0]
    assert [document.weight for document in store] == list(range(300))
    tracemalloc.stop()
    assert (tmp_path / "documents.bin").stat().st_size == 32 + 300 * (4 * 1000 + 32)
    assert peak < 3_000_000  # 300,000 tokens in tuples are 17,000,000
    assert held < 300_000


@pytest.mark.parametrize("step", [1, 7])
def test_every_flipped_bit_is_found_when_what_it_hit_is_read(tmp_path: Path, step: int) -> None:
    path = tmp_path / "documents.bin"
    wanted = list(some(6, seed=step))
    write_documents(path, wanted)
    whole = path.read_bytes()
    for place in range(0, 28, step):  # the last four bytes of the header are not used
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        with pytest.raises(IntegrityError, match=r"documents.bin"):
            DocumentStore.open(path)
    for place in range(32, len(whole), step):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        with pytest.raises(IntegrityError, match=r"documents.bin is damaged"):
            list(DocumentStore.open(path))


def test_a_file_that_is_cut_off_foreign_or_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "documents.bin"
    with pytest.raises(SourceError, match="missing"):
        DocumentStore.open(path)
    write_documents(path, some(5))
    whole = path.read_bytes()
    huge = whole[:8] + struct.pack("<QQ", 2**63, 2**63) + whole[24:]
    for content in (b"", whole[:31], whole[:-1], whole + b"\0", b"SSROWS01" + whole[8:], huge):
        path.write_bytes(content)
        with pytest.raises(IntegrityError, match=r"documents.bin"):
            DocumentStore.open(path)


def test_what_no_store_can_hold_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    good = Document(token_ids=(1, 2), supervised=(False, True))
    path = tmp_path / "documents.bin"
    for bad in (
        Document(token_ids=(1, -1), supervised=(False, True)),
        Document(token_ids=(1, 2**31), supervised=(False, True)),
        Document(token_ids=(1, 2**63), supervised=(False, True)),
        Document(token_ids=(1, 2**200), supervised=(False, True)),
        Document(token_ids=(1, 1.5), supervised=(False, True)),  # type: ignore[arg-type]  # would become 1
        Document(token_ids=(1, None), supervised=(False, True)),  # type: ignore[arg-type]
        Document(token_ids=("1", "2"), supervised=(False, True)),  # type: ignore[arg-type]
        Document(token_ids=((1,), (1, 2)), supervised=(False, True)),  # type: ignore[arg-type]
        Document(token_ids=(1, 2), supervised=(True,)),
    ):
        with pytest.raises(CompatibilityError, match="Document 1"):
            write_documents(path, [good, bad])
    with pytest.raises(ValueError, match="policy drew"):
        write_documents(path, [replace(good, drawn=DrawnCompletion(advantage=1.0, group=0))])
    assert list(tmp_path.iterdir()) == []


def test_processes_that_open_a_file_share_its_memory(tmp_path: Path) -> None:
    path = tmp_path / "documents.bin"
    store = write_documents(path, some(5))
    rows = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(path))]
    assert {row[1] for row in rows} == {"r--s"}  # read only, and shared: one copy for all who map it
    assert len(store) == 5


def test_a_store_outlives_the_name_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "documents.bin"
    store = write_documents(path, some(5))
    part = store[2:]
    path.unlink()
    del store
    assert list(part) == list(some(5))[2:]
