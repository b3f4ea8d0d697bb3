from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from cache_parts import open_cache, tiny_documents, tiny_teacher
from tiny_training import VOCAB, counting_documents, one_thread, tiny_decoder
from torch import Tensor

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.distil.cache import CaptureConfig, capture
from spiritsafe.distil.losses.divergences import LossMix
from spiritsafe.distil.objective import DistilObjective
from spiritsafe.distil.signal import (
    LiveTeacher,
    SampledRows,
    Signal,
    SignalPart,
    TeacherRows,
    document_key,
    document_keys,
)
from spiritsafe.distil.teachers_by_document import TeachersByDocument, prompt_keys, select_documents
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import IGNORED, Document, PackedBatch, pack_documents, shared_prefix

DOCUMENTS = counting_documents(7, seed=5)
PREFIXED = [
    Document(token_ids=(9, 8, 7, 6, *d.token_ids), supervised=(*[False] * 4, *d.supervised), weight=1.0 + i)
    for i, d in enumerate(DOCUMENTS)
]
OWNERS = ("sums", "words", "words", "sums", "words", "sums", "sums")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def packed(documents: Sequence[Document]) -> PackedBatch:
    return pack_documents(documents, prefix_length=shared_prefix(documents))


def rows_of(batch: PackedBatch) -> Tensor:
    return torch.nonzero(batch.targets_N != IGNORED).squeeze(1)


def owned(documents: Sequence[Document], owners: Sequence[str] = OWNERS) -> dict[str, str]:
    return {document_key(d.token_ids): owner for d, owner in zip(documents, owners, strict=True)}


class Recording:
    """A live teacher that remembers which documents it was asked of."""

    def __init__(self, model: Decoder) -> None:
        self._live = LiveTeacher(model)
        self.shares_prefixes, self.vocab_size = True, model.vocab_size
        self.seen: list[str] = []

    def describe(self) -> dict[str, JSON]:
        return self._live.describe()

    def read(self, batch: PackedBatch, rows_R: Tensor, *, layers: Sequence[int] = ()) -> Signal:
        self.seen += document_keys(batch)
        return self._live.read(batch, rows_R, layers=layers)


class Kept:
    """As a cache would answer: sampled rows that spell the target, in two parts that interleave."""

    shares_prefixes, vocab_size = True, VOCAB

    def describe(self) -> dict[str, JSON]:
        return {"signal": "kept"}

    def read(self, batch: PackedBatch, rows_R: Tensor, *, layers: Sequence[int] = ()) -> Signal:
        parts = []
        for first in (0, 1):
            index_S = torch.arange(first, rows_R.numel(), 2)
            ids = batch.targets_N[rows_R[index_S], None]
            rows = SampledRows(ids_RK=ids, probs_RK=torch.ones(ids.shape), entropy_R=torch.zeros(len(ids)))
            parts.append(SignalPart(index_S=index_S, rows=rows))
        return Signal(parts=tuple(parts))


@pytest.mark.parametrize("documents", [DOCUMENTS, PREFIXED], ids=["plain", "with a shared prefix"])
def test_selected_documents_are_as_if_packed_alone(documents: list[Document]) -> None:
    batch = packed(documents)
    for chosen in ([0], [1, 2, 5], [6], list(range(7))):
        smaller, places = select_documents(batch, chosen)
        expected = pack_documents([documents[i] for i in chosen], prefix_length=0)
        if batch.prefix_length:
            assert smaller.prefix_length == smaller.lengths[0] == batch.prefix_length
        else:
            assert smaller.lengths == expected.lengths
            for name in ("token_ids_N", "position_ids_N", "targets_N", "weights_N"):
                assert torch.equal(getattr(smaller, name), getattr(expected, name))
        assert document_keys(smaller) == [document_key(documents[i].token_ids) for i in chosen]
        assert torch.equal(batch.token_ids_N[places], smaller.token_ids_N)
        supervised, wanted = rows_of(smaller), rows_of(expected)
        assert torch.equal(smaller.targets_N[supervised], expected.targets_N[wanted])
        assert torch.equal(smaller.weights_N[supervised], expected.weights_N[wanted])


@pytest.mark.parametrize("documents", [DOCUMENTS, PREFIXED], ids=["plain", "with a shared prefix"])
def test_each_teacher_reads_its_own_documents_only_and_says_what_it_would_say_alone(documents: list[Document]) -> None:
    models = {
        "sums": tiny_decoder(seed=3, dtype=torch.float64),
        "words": tiny_decoder(seed=4, hidden=48, layers=3, dtype=torch.float64),
    }
    teachers = {name: Recording(model) for name, model in models.items()}
    batch = packed(documents)
    rows_R = rows_of(batch)
    signal = TeachersByDocument(teachers, owned(documents)).read(batch, rows_R)
    covered = []
    for part, name in zip(signal.parts, ("sums", "words"), strict=True):
        keys = [document_key(d.token_ids) for d, owner in zip(documents, OWNERS, strict=True) if owner == name]
        assert teachers[name].seen == keys
        assert isinstance(part.rows, TeacherRows)
        assert part.index_S is not None
        expected = models[name](batch)[rows_R[part.index_S]].detach()
        torch.testing.assert_close(part.rows.hidden_RG, expected, rtol=1e-10, atol=1e-12)
        assert part.rows.weight_UG.data_ptr() == models[name].head().weight_VH.data_ptr()
        assert bool((part.index_S.diff() > 0).all())
        covered += part.index_S.tolist()
    assert sorted(covered) == list(range(rows_R.numel()))


@pytest.mark.parametrize("mix", [LossMix(reverse_kl=1.0), LossMix(ce=0.25, jsd=0.75)], ids=["reverse KL", "CE + JSD"])
@pytest.mark.parametrize("documents", [DOCUMENTS, PREFIXED], ids=["plain", "with a shared prefix"])
def test_the_gradient_is_the_sum_of_what_each_teacher_gives_alone(mix: LossMix, documents: list[Document]) -> None:
    signals = {
        "sums": LiveTeacher(tiny_decoder(seed=3, dtype=torch.float64)),
        "words": LiveTeacher(tiny_decoder(seed=4, hidden=48, layers=3, dtype=torch.float64)),
    }
    together = tiny_decoder(dtype=torch.float64)
    result = DistilObjective(TeachersByDocument(signals, owned(documents)), mix)(together, packed(documents), 50.0)

    apart, loss = tiny_decoder(dtype=torch.float64), 0.0
    for name, signal in signals.items():
        mine = [document for document, owner in zip(documents, OWNERS, strict=True) if owner == name]
        loss += float(DistilObjective(signal, mix)(apart, pack_documents(mine), 50.0).loss)
    assert float(result.loss) == pytest.approx(loss, rel=1e-9)
    for ours, theirs in zip(together.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-11)


def test_one_owner_of_a_whole_batch_is_asked_directly() -> None:
    teacher, other = Recording(tiny_decoder(seed=3)), Recording(tiny_decoder(seed=4))
    batch = packed(DOCUMENTS)
    signal = TeachersByDocument({"a": teacher, "b": other}, default="a").read(batch, rows_of(batch))
    assert [part.index_S for part in signal.parts] == [None]
    assert (len(teacher.seen), other.seen) == (7, [])


def test_kept_and_live_teachers_mix() -> None:
    batch = packed(PREFIXED)
    rows_R = rows_of(batch)
    teachers = TeachersByDocument({"words": LiveTeacher(tiny_decoder()), "sums": Kept()}, owned(PREFIXED))
    live, kept = [], []
    for part in teachers.read(batch, rows_R).parts:
        assert part.index_S is not None
        if isinstance(part.rows, SampledRows):
            assert torch.equal(part.rows.ids_RK[:, 0], batch.targets_N[rows_R[part.index_S]])
            kept += part.index_S.tolist()
        else:
            live += part.index_S.tolist()
    owner_of_row = [owner for d, owner in zip(PREFIXED, OWNERS, strict=True) for flag in d.supervised if flag]
    assert sorted(kept) == [row for row, owner in enumerate(owner_of_row) if owner == "sums"]
    assert sorted(live) == [row for row, owner in enumerate(owner_of_row) if owner == "words"]


@pytest.mark.parametrize("documents", [DOCUMENTS, PREFIXED], ids=["plain", "with a shared prefix"])
def test_a_document_is_known_by_itself_or_by_its_prompt(documents: list[Document]) -> None:
    batch = packed(documents)
    assert (batch.prefix_length > 0) == (documents is PREFIXED)
    prompts = [document_key(d.token_ids[: d.supervised.index(True)]) for d in documents]
    assert prompt_keys(batch) == prompts
    own = document_key(documents[0].token_ids)
    signals = {name: Recording(tiny_decoder(seed=3)) for name in ("document", "prompt", "default")}
    teachers = TeachersByDocument(
        signals, {own: "document"}, prompts={prompts[0]: "default", prompts[1]: "prompt"}, default="default"
    )
    teachers.read(batch, rows_of(batch))
    keys = [document_key(d.token_ids) for d in documents]
    assert signals["document"].seen == keys[:1]
    assert signals["prompt"].seen == keys[1:2]
    assert signals["default"].seen == keys[2:]


def test_what_has_no_teacher_is_refused_and_the_description_says_who_has_which() -> None:
    signals = {"a": LiveTeacher(tiny_decoder(seed=3)), "b": LiveTeacher(tiny_decoder(seed=4))}
    half = {document_key(DOCUMENTS[0].token_ids): "a"}
    with pytest.raises(CompatibilityError, match="has no teacher"):
        TeachersByDocument(signals, half).read(packed(DOCUMENTS), rows_of(packed(DOCUMENTS)))
    made = [
        TeachersByDocument(signals, half),
        TeachersByDocument(signals, prompts=half),
        TeachersByDocument(signals, half, default="b"),
        TeachersByDocument(signals, dict.fromkeys(half, "b")),
        TeachersByDocument({"a": signals["b"], "b": signals["a"]}, half),
    ]
    assert len({str(teachers.describe()) for teachers in made}) == 5
    assert made[0].describe() == TeachersByDocument(signals, half).describe()


def test_teachers_that_do_not_fit_together_are_refused() -> None:
    small, large = LiveTeacher(tiny_decoder()), LiveTeacher(tiny_decoder(vocab=VOCAB + 3))
    with pytest.raises(CompatibilityError, match="vocabularies differ in size"):
        TeachersByDocument({"a": small, "b": large})
    padded = TeachersByDocument({"a": small, "b": large}, owned(DOCUMENTS, "ababbab"), same_tokenizer=True)
    assert padded.vocab_size == VOCAB + 3
    objective = DistilObjective(padded, LossMix(reverse_kl=1.0), same_tokenizer=True)
    assert float(objective(tiny_decoder(seed=9), packed(DOCUMENTS), 10.0).loss) > 0.0
    with pytest.raises(RecipeError, match="no teacher 'c'"):
        TeachersByDocument({"a": small}, default="c")
    with pytest.raises(RecipeError, match="There is no teacher"):
        TeachersByDocument({})
    two = TeachersByDocument({"a": small, "b": small}, default="a")
    with pytest.raises(CompatibilityError, match="no common width"):
        two.read(packed(DOCUMENTS), rows_of(packed(DOCUMENTS)), layers=(0,))
    alone = TeachersByDocument({"a": small}, default="a").read(
        packed(DOCUMENTS), rows_of(packed(DOCUMENTS)), layers=(0,)
    )
    assert alone.layers_RG[0].shape[0] == rows_of(packed(DOCUMENTS)).numel()


def test_two_teachers_kept_on_disk_get_exactly_their_documents(tmp_path: Path) -> None:
    """Each cache holds its own data set only: a document that came to the wrong one would be refused by it."""
    loaded = tiny_teacher()
    documents = tiny_documents(6)
    of_set = {"maths": documents[:4], "chats": documents[4:]}
    config = CaptureConfig(num_head=260, num_draws=1)  # all of a row, so that it can be compared
    for name, own in of_set.items():
        capture(loaded, own, config, tmp_path / name)
    caches = {name: open_cache(tmp_path / name) for name in of_set}
    owners = {document_key(d.token_ids): name for name, own in of_set.items() for d in own}
    batch = packed(documents[::-1])
    rows_R = rows_of(batch)
    signal = TeachersByDocument(caches, owners).read(batch, rows_R)
    head = loaded.model.head()
    with torch.no_grad():
        exact = torch.softmax(loaded.model(batch)[rows_R] @ head.weight_VH.T * head.scale, 1)
    assert sorted(row for part in signal.parts for row in (part.index_S if part.index_S is not None else ())) == list(
        range(len(rows_R))
    )
    for part in signal.parts:
        assert isinstance(part.rows, SampledRows)
        assert part.index_S is not None
        dense = torch.zeros(len(part.index_S), 260).scatter_add_(1, part.rows.ids_RK, part.rows.probs_RK)
        assert float((dense - exact[part.index_S]).abs().sum(1).max()) < 0.03
    swapped = {key: "maths" if name == "chats" else "chats" for key, name in owners.items()}
    with pytest.raises(CompatibilityError, match="is not in the teacher cache"):
        TeachersByDocument(caches, swapped).read(batch, rows_R)
