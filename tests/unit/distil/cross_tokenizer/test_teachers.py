"""Chunk likelihoods against the chain rule on a language whose joint probability is known."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
import torch
from across_language import LETTERS, MERGES, TEXTS, Cutter, ExactModel, pair_of
from tiny_training import VOCAB, tiny_decoder
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.distil.cross_tokenizer.pairing import PairedDocument
from spiritsafe.distil.cross_tokenizer.teachers import (
    ChunkScores,
    LiveChunkTeacher,
    TokenScores,
    chunk_scores,
    score_documents,
)
from spiritsafe.models.interface.batch import Document, pack_documents

SOME = random.Random(0).sample(sorted(TEXTS), 40)
CPU = torch.device("cpu")


def scores_of(pairs: list[PairedDocument], teacher: Cutter, *, boundaries: bool = False) -> ChunkScores:
    live = LiveChunkTeacher(ExactModel(teacher), boundary_ids=teacher.boundary_ids())
    return live.read(pairs, device=CPU, boundaries=boundaries, starts=False)


def by_document(pairs: list[PairedDocument], values_K: Tensor) -> list[Tensor]:
    return list(values_K.split([pair.alignment.num_chunks for pair in pairs]))


@pytest.mark.parametrize(("student", "teacher"), [(LETTERS, MERGES), (MERGES, LETTERS)])
def test_chunks_multiply_to_the_joint_probability_under_both_tokenizations(student: Cutter, teacher: Cutter) -> None:
    pairs = [pair_of(student, teacher, text) for text in SOME]
    found = by_document(pairs, scores_of(pairs, teacher).log_prob_K)
    for text, log_prob in zip(SOME, found, strict=True):
        assert float(log_prob.sum().exp()) == pytest.approx(TEXTS[text], rel=1e-9)


def test_each_chunk_is_the_chain_rule() -> None:
    model = ExactModel(MERGES)
    pairs = [pair_of(LETTERS, MERGES, text) for text in SOME]
    for pair, found in zip(pairs, by_document(pairs, scores_of(pairs, MERGES).log_prob_K), strict=True):
        ids, chunk_B = pair.teacher.token_ids, pair.alignment.chunk_B
        for chunk in range(pair.alignment.num_chunks):
            inside = [n + 1 for n in range(len(chunk_B)) if chunk_B[n] == chunk]
            wanted = math.log(model.mass[ids[: inside[-1] + 1]] / model.mass[ids[: inside[0]]])
            assert float(found[chunk]) == pytest.approx(wanted, abs=1e-9)


def test_reading_the_row_of_the_next_token_would_fail() -> None:
    """GOLD's trap (TRL 1.16, "observed"): the answer's own row predicts the next token, not this one.

    Read so, the product is no longer the joint probability, which is what the two tests above would then say.
    """
    pairs = [pair_of(LETTERS, MERGES, text) for text in SOME]
    model = ExactModel(MERGES)
    batch = pack_documents([pair.teacher for pair in pairs])
    log_probs = torch.log_softmax(model(batch) @ model.weight_VH.T, 1).detach()
    rows = (batch.targets_N >= 0).nonzero().squeeze(1)
    right = TokenScores(log_prob_T=log_probs[rows, batch.targets_N[rows]])
    shifted = TokenScores(log_prob_T=log_probs[(rows + 1) % len(log_probs), batch.targets_N[rows]])
    wrong = 0
    for scores in (right, shifted):
        found = by_document(pairs, chunk_scores(pairs, scores).log_prob_K)
        wrong = sum(
            not math.isclose(float(v.sum().exp()), TEXTS[text], rel_tol=1e-6)
            for text, v in zip(SOME, found, strict=True)
        )
        assert wrong == (0 if scores is right else len(SOME))


def test_debiased_the_first_unit_is_the_same_event_under_both_tokenizations() -> None:
    """ALM's outcome debiasing: "``ab``, then a boundary" is one event; "the token ``ab``" and "``a``, ``b``" are two.

    Under MERGES the token ``ab`` excludes words that begin with ``aba``.
    """
    texts = [text for text in SOME if text.startswith(("ab ", "ba ", "aba ", "a ", "b "))]
    assert len(texts) > 5
    pairs = [pair_of(LETTERS, MERGES, text) for text in texts]
    flipped = [pair_of(MERGES, LETTERS, text) for text in texts]
    merged = scores_of(pairs, MERGES, boundaries=True)
    letters = scores_of(flipped, LETTERS, boundaries=True)
    assert merged.log_boundary_K is not None
    assert letters.log_boundary_K is not None
    with_boundary = [
        by_document(pairs, one.log_prob_K + one.log_boundary_K)
        for one in (merged, letters)
        if one.log_boundary_K is not None
    ]
    bare = [by_document(pairs, one.log_prob_K) for one in (merged, letters)]
    biased = 0
    for n, text in enumerate(texts):
        word = text.split()[0]
        wanted = sum(p for other, p in TEXTS.items() if other.startswith(f"{word} "))
        for values in with_boundary:
            assert float(values[n][0].exp()) == pytest.approx(wanted, rel=1e-9)
        biased += not math.isclose(float(bare[0][n][0]), float(bare[1][n][0]), rel_tol=1e-6)
    assert biased > 3


def test_nothing_follows_the_last_chunk() -> None:
    pairs = [pair_of(LETTERS, MERGES, text) for text in SOME[:3]]
    found = scores_of(pairs, MERGES, boundaries=True)
    assert found.log_boundary_K is not None
    for boundary in by_document(pairs, found.log_boundary_K):
        assert float(boundary[-1]) == 0.0
        assert bool((boundary[:-1] <= 0.0).all())


def test_pieces_of_any_size_give_the_same_scores() -> None:
    model = tiny_decoder(seed=3)
    rng = random.Random(1)
    ids = [tuple(rng.randrange(VOCAB) for _ in range(n)) for n in (5, 17, 9)]
    documents = [Document(token_ids=t, supervised=(False, False, *(True for _ in t[2:]))) for t in ids]
    whole, hidden = score_documents(model, documents, boundary_ids=(1, 5, 9))
    parts, _ = score_documents(model, documents, boundary_ids=(1, 5, 9), logits_bytes=VOCAB * 4 * 2)
    torch.testing.assert_close(whole.log_prob_T, parts.log_prob_T)
    assert whole.log_boundary_T is not None
    assert parts.log_boundary_T is not None
    torch.testing.assert_close(whole.log_boundary_T, parts.log_boundary_T)
    log_probs = torch.log_softmax(hidden @ model.head().weight_VH.detach().T, 1)
    torch.testing.assert_close(whole.log_boundary_T, log_probs[:, [1, 5, 9]].exp().sum(1).log())


def test_starts_are_the_rows_that_predict_the_first_token_of_a_chunk() -> None:
    pairs = [pair_of(LETTERS, MERGES, text) for text in SOME[:4]]
    model = ExactModel(MERGES)
    found = LiveChunkTeacher(model).read(pairs, device=CPU, boundaries=False, starts=True)
    assert found.starts is not None
    wanted = []
    for pair in pairs:
        firsts = [pair.alignment.chunk_B.tolist().index(k) for k in range(pair.alignment.num_chunks)]
        wanted.append(model(pack_documents([pair.teacher]))[firsts])
    torch.testing.assert_close(found.starts.hidden_RG, torch.cat(wanted).detach())


def test_what_does_not_fit_is_refused() -> None:
    pairs = [pair_of(LETTERS, MERGES, text) for text in SOME[:2]]
    with pytest.raises(CompatibilityError, match="boundary tokens"):
        LiveChunkTeacher(ExactModel(MERGES)).read(pairs, device=CPU, boundaries=True, starts=False)
    scores, _ = score_documents(ExactModel(MERGES), [pair.teacher for pair in pairs])
    with pytest.raises(CompatibilityError, match="scores for"):
        chunk_scores(pairs, replace(scores, log_prob_T=scores.log_prob_T[:-1]))


def test_a_teacher_is_described_by_its_weights() -> None:
    one, two = (LiveChunkTeacher(tiny_decoder(seed=seed)).describe() for seed in (0, 1))
    assert one != two
    given = [LiveChunkTeacher(tiny_decoder(), boundary_ids=ids).describe() for ids in (None, (1, 2), (1, 3))]
    assert len({str(one) for one in given}) == 3
