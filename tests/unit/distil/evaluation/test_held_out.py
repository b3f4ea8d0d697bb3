from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bpe_parts import write_bpe_model
from cache_parts import open_cache, tiny_documents, tiny_teacher
from foreign_models import write_foreign
from tiny_student import sums_problems, tiny_student, worked_documents
from tiny_training import OperatorLog, one_thread, tiny_decoder
from transformers import AutoModelForCausalLM

from spiritsafe.core.errors import CompatibilityError, NumericalError, RecipeError
from spiritsafe.core.records import Message
from spiritsafe.distil.cache import CaptureConfig, capture
from spiritsafe.distil.evaluation.estimates import HeldOut
from spiritsafe.distil.evaluation.held_out import held_out, supervised_bytes
from spiritsafe.distil.losses.divergences import LossMix
from spiritsafe.distil.losses.sampled_head import sampled_head
from spiritsafe.distil.signal import SampledRows
from spiritsafe.models import IGNORED, Document, load_model, pack_documents
from spiritsafe.training import DocumentStore


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


class Progress:
    def __init__(self) -> None:
        self.told: list[tuple[float, float | None, str]] = []

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        self.told.append((done, total, unit))

    def metrics(self, kind: str, values: dict[str, Any]) -> None:
        raise AssertionError


def reference(directory: Path, document: Document) -> torch.Tensor:
    """Log-probabilities of what comes next at each supervised place, by transformers in float64."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float64).eval()
    if model.config.model_type == "mixtral":  # the fused product of experts knows no float64
        model.set_experts_implementation("eager")
    with torch.no_grad():
        logits_NV = model(torch.tensor([document.token_ids])).logits[0].double()
    return logits_NV.log_softmax(1)[:-1][torch.tensor(document.supervised[1:])]


def targets(document: Document) -> list[int]:
    return [t for t, s in zip(document.token_ids[1:], document.supervised[1:], strict=True) if s]


def assert_right(found: HeldOut, documents: Sequence[Document], student: Path, teacher: Path) -> None:
    """Each sum of each document against transformers in float64."""
    for row, document in enumerate(documents):
        log_q_RV, log_p_RV = reference(student, document), reference(teacher, document)
        ids = targets(document)
        nll = -float(log_q_RV[range(len(ids)), ids].sum())
        kl = float((log_p_RV.exp() * (log_p_RV - log_q_RV)).sum())
        assert found.num_tokens[row] == len(ids)
        assert found.nll[row] == pytest.approx(nll, rel=1e-5)
        assert found.kl is not None
        assert found.num_agreeing is not None
        assert found.kl[row] == pytest.approx(kl, rel=1e-4, abs=1e-6)
        assert found.num_agreeing[row] == int((log_q_RV.argmax(1) == log_p_RV.argmax(1)).sum())


def test_the_decoders_sums_are_those_of_transformers_in_float64(tmp_path: Path) -> None:
    student, teacher = tiny_student(tmp_path), tiny_student(tmp_path, seed=2)
    documents = worked_documents(student, sums_problems(5))
    found = held_out(student, documents, teacher=teacher, micro_batch_tokens=250)
    assert_right(found, documents, student.directory, teacher.directory)
    assert (found.num_documents, found.places) == (5, (0, 1, 2, 3, 4))
    assert (found.too_long, found.unsupervised) == ((), ())
    assert found.teacher == teacher.checkpoint.digest
    assert found.is_kl_exact


@pytest.mark.parametrize("kind", ["gpt2", "cohere", "mixtral"])
def test_a_model_that_transformers_runs_gives_transformers_sums(kind: str, tmp_path: Path) -> None:
    """GPT-2 has no RoPE, Cohere scales its logits, Mixtral has experts; the teacher is of another architecture."""
    mine, theirs = write_foreign(tmp_path / "student", kind), write_foreign(tmp_path / "teacher", "gpt_neox")
    student, teacher = (load_model(path, dtype=torch.float32) for path in (mine, theirs))
    documents = [
        student.chat.document([Message(role="user", content="a+b")], answer) for answer in ("no", "maybe 12", "é")
    ]
    assert_right(held_out(student, documents, teacher=teacher), documents, mine, theirs)


def test_it_matters_neither_how_documents_are_ordered_nor_batched_nor_kept(tmp_path: Path) -> None:
    student, teacher = tiny_student(tmp_path), tiny_student(tmp_path, seed=2)
    documents = worked_documents(student, sums_problems(7))
    found = held_out(student, documents, teacher=teacher)
    for other in (
        held_out(student, documents, teacher=teacher, micro_batch_tokens=1),
        held_out(student, documents, teacher=teacher, logits_bytes=1),
        held_out(student, DocumentStore.of(documents), teacher=teacher),
    ):
        assert other.nll == pytest.approx(found.nll, rel=1e-5)
        assert other.kl == pytest.approx(found.kl, rel=1e-3, abs=1e-5)
        assert (other.num_tokens, other.num_bytes) == (found.num_tokens, found.num_bytes)
        assert other.num_agreeing == found.num_agreeing
    order = [3, 0, 6, 2, 5, 1, 4]
    turned = held_out(student, [documents[place] for place in order], teacher=teacher)
    assert turned.nll == pytest.approx([found.nll[place] for place in order], rel=1e-5)
    assert turned.num_bytes == tuple(found.num_bytes[place] for place in order)


def test_logits_never_exist_all_at_once(tmp_path: Path) -> None:
    plain = tiny_student(tmp_path)
    student, teacher = (replace(plain, model=tiny_decoder(seed=seed, vocab=4000)) for seed in (1, 2))
    documents = [Document(token_ids=(5,) * 100, supervised=(False, *[True] * 99))] * 8
    with OperatorLog() as log:
        held_out(student, documents, teacher=teacher, num_bytes=[9] * 8, logits_bytes=1 << 20)
    weights, all_logits = 4 * 4000 * 32, 4 * 4000 * 8 * 99
    assert weights <= log.largest_bytes <= 1 << 20 < all_logits


def test_a_model_is_no_distance_from_itself(tmp_path: Path) -> None:
    student = tiny_student(tmp_path)
    documents = worked_documents(student, sums_problems(4))
    found = held_out(student, documents, teacher=tiny_student(tmp_path))
    assert found.kl == pytest.approx([0.0] * 4, abs=1e-6)
    assert found.num_agreeing == found.num_tokens
    half = load_model(student.directory, dtype=torch.bfloat16)
    rounded = held_out(half, documents, teacher=student)
    assert rounded.kl is not None
    assert 0.0 < sum(rounded.kl) / sum(rounded.num_tokens) < 1e-3


def test_a_uniform_model_needs_log_v_at_every_token(tmp_path: Path) -> None:
    student = tiny_student(tmp_path)
    with torch.no_grad():
        student.model.head().weight_VH.zero_()
    documents = worked_documents(student, sums_problems(4))
    found = held_out(student, documents)
    assert found.nll == pytest.approx([n * math.log(260) for n in found.num_tokens], rel=1e-6)
    assert (found.kl, found.num_agreeing, found.teacher, found.is_kl_exact) == (None, None, None, False)


@pytest.mark.parametrize(("vocab", "teacher_vocab"), [(300, 260), (260, 300)])
def test_padded_vocabularies_are_compared_over_the_ids_of_both(vocab: int, teacher_vocab: int, tmp_path: Path) -> None:
    plain = tiny_student(tmp_path)
    student, teacher = (
        replace(plain, model=tiny_decoder(seed=seed, vocab=size)) for seed, size in ((1, vocab), (2, teacher_vocab))
    )
    documents = [Document(token_ids=(5, 9, 250, 77), supervised=(False, True, True, True))]
    found = held_out(student, documents, teacher=teacher)
    batch = pack_documents(documents)
    with torch.no_grad():
        log_q_RV, log_p_RU = (
            (side.model(batch).double() @ side.model.head().weight_VH.double().T)[:3] for side in (student, teacher)
        )
    log_q_RV, log_p_RU = log_q_RV.log_softmax(1), log_p_RU[:, :vocab].log_softmax(1)
    kl = float((log_p_RU.exp() * (log_p_RU - log_q_RV[:, :260])).sum())
    assert found.kl == pytest.approx([kl], rel=1e-4)
    assert found.nll == pytest.approx([-float(log_q_RV[range(3), (9, 250, 77)].sum())], rel=1e-5)


def test_a_cached_teacher_gives_what_its_entries_say(tmp_path: Path) -> None:
    student, documents = replace(tiny_teacher(), model=tiny_decoder(seed=3, vocab=260)), tiny_documents(6)
    capture(tiny_teacher(), documents, CaptureConfig(threshold=0.03, rows_per_shard=100), tmp_path / "rough")
    cache = open_cache(tmp_path / "rough")
    found = held_out(student, documents, teacher=cache)
    live = held_out(student, documents, teacher=tiny_teacher())
    assert found.nll == pytest.approx(live.nll)
    assert not found.is_kl_exact
    assert found.teacher == live.teacher
    for row, document in enumerate(documents):  # the loss head that learns from the same entries
        batch = pack_documents([document])
        rows_R = (batch.targets_N != IGNORED).nonzero().squeeze(1)
        (part,) = cache.read(batch, rows_R).parts
        assert isinstance(part.rows, SampledRows)
        with torch.no_grad():
            head, hidden_RH = student.model.head(), student.model(batch)[rows_R]
        result = sampled_head(
            hidden_RH,
            head.weight_VH.detach(),
            part.rows,
            batch.targets_N[rows_R],
            torch.ones(len(rows_R)),
            mix=LossMix(forward_kl=1.0),
            scale=head.scale,
            grad_weight_VH=None,
        )
        assert found.kl is not None
        assert found.num_agreeing is not None
        assert found.kl[row] == pytest.approx(float(result.sums["kl"][0]), rel=1e-4, abs=1e-4)
        assert found.num_agreeing[row] == int(result.sums["agreement"][0])
    capture(tiny_teacher(), documents, CaptureConfig(threshold=1e-5), tmp_path / "fine")
    fine = held_out(student, documents, teacher=open_cache(tmp_path / "fine"))
    assert fine.kl == pytest.approx(live.kl, rel=2e-2)
    assert fine.num_agreeing == live.num_agreeing


def test_a_cache_with_a_bias_is_refused(tmp_path: Path) -> None:
    documents = tiny_documents(3)
    capture(tiny_teacher(), documents, CaptureConfig(threshold=0.03), tmp_path)
    cache = open_cache(tmp_path)
    fingerprint = cache.manifest.fingerprint.model_copy(update={"estimator": "served_top_k"})
    cache.manifest = cache.manifest.model_copy(update={"fingerprint": fingerprint})
    with pytest.raises(CompatibilityError, match="likeliest tokens only"):
        held_out(tiny_teacher(), documents, teacher=cache)


def test_what_cannot_be_measured_is_left_out_and_listed(tmp_path: Path) -> None:
    student = tiny_student(tmp_path)  # context 256
    documents = worked_documents(student, sums_problems(3))
    long = Document(token_ids=(5,) * 257, supervised=(False, *[True] * 256))
    silent = Document(token_ids=(5, 6), supervised=(True, False))
    found = held_out(student, [long, documents[0], silent, documents[1]])
    assert (found.num_documents, found.too_long, found.unsupervised, found.places) == (4, (0,), (2,), (1, 3))
    assert found.nll == pytest.approx(held_out(student, documents[:2]).nll, rel=1e-5)
    just = replace(long, token_ids=(5,) * 256, supervised=(False, *[True] * 255))
    assert held_out(student, [just]).num_tokens == (255,)
    shorter = replace(student, model=tiny_decoder(vocab=260, max_position_embeddings=64))
    assert held_out(student, [documents[0], just, Document(token_ids=(5, 6), supervised=(False, True))]).too_long == ()
    assert held_out(
        student, [Document(token_ids=(5, 6), supervised=(False, True)), just], teacher=shorter
    ).too_long == (1,)
    with pytest.raises(RecipeError, match="None of 2 documents"):
        held_out(student, [long, silent])
    with pytest.raises(RecipeError, match="None of 0"):
        held_out(student, [])


def test_bytes_are_those_of_the_text(tmp_path: Path) -> None:
    byte, bpe = tiny_student(tmp_path), load_model(write_bpe_model(tmp_path / "bpe"), dtype=torch.float32)
    texts = ["the cat", " naïve 東京 🙂\n", "", "<|im_end|> in words"]
    question = [Message(role="user", content="über the cat?")]
    for loaded in (byte, bpe):
        documents = [loaded.chat.document(question, text) for text in texts]
        assert supervised_bytes(loaded.chat, documents) == [len(text.encode()) for text in texts]
        assert held_out(loaded, documents).num_bytes == tuple(len(text.encode()) for text in texts)
        assert held_out(loaded, documents, num_bytes=[3, 1, 4, 1]).num_bytes == (3, 1, 4, 1)
    # two turns that are learnt, and a first token that nothing predicts
    ids = byte.chat.text_ids("abcdefgh")
    flags = (True, True, False, False, True, True, True, False)
    assert supervised_bytes(byte.chat, [Document(token_ids=tuple(ids), supervised=flags)]) == [4]
    with pytest.raises(CompatibilityError, match="2 numbers of bytes for 4"):
        held_out(bpe, documents, num_bytes=[1, 2])


def test_others_vocabularies_and_tokens_are_refused(tmp_path: Path) -> None:
    student, other = tiny_student(tmp_path), load_model(write_bpe_model(tmp_path / "bpe"), dtype=torch.float32)
    documents = worked_documents(student, sums_problems(2))
    with pytest.raises(CompatibilityError, match="different vocabularies"):
        held_out(student, documents, teacher=other)
    stray = Document(token_ids=(5, 260), supervised=(False, True))
    lame = Document(token_ids=(5, 6, 7), supervised=(False, True))
    for wrong in (stray, lame):
        with pytest.raises(CompatibilityError, match="Document 1 of"):
            held_out(student, [documents[0], wrong])


def test_broken_weights_name_the_document(tmp_path: Path) -> None:
    student = tiny_student(tmp_path)
    documents = worked_documents(student, sums_problems(3))
    silent = Document(token_ids=(5,), supervised=(False,))
    with torch.no_grad():
        student.model.head().weight_VH[7] = math.nan  # in the logits of every row
    with pytest.raises(NumericalError, match=r"document [123] is not finite"):
        held_out(student, [silent, *documents])


def test_it_tells_how_far_it_is_and_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    student = tiny_student(tmp_path)
    documents = worked_documents(student, sums_problems(3))
    total = sum(len(document.token_ids) for document in documents)
    student.model.train()
    heard = Progress()
    held_out(student, documents, micro_batch_tokens=1, events=heard)
    assert [told[1:] for told in heard.told] == [(total, "tokens")] * 3
    assert heard.told[-1][0] == total
    assert np.diff([told[0] for told in heard.told]).min() > 0
    assert student.model.training
    assert all(parameter.grad is None for parameter in student.model.parameters())


def test_weights_of_documents_play_no_part(tmp_path: Path) -> None:
    student = tiny_student(tmp_path)
    documents = worked_documents(student, sums_problems(2))
    heavy = [replace(document, weight=9.0) for document in documents]
    assert held_out(student, heavy) == held_out(student, documents)
