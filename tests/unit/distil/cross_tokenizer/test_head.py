from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_training import OperatorLog
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.distil.cross_tokenizer.divergence import ChunkDistance
from spiritsafe.distil.cross_tokenizer.head import AcrossMix, AcrossResult, ChunkRows, OneToOne, across_head
from spiritsafe.distil.cross_tokenizer.vocabulary import VocabularyMap
from spiritsafe.distil.signal import TeacherRows
from spiritsafe.training.head import cross_entropy_head

HIDDEN, VOCAB, TEACHER_HIDDEN, TEACHER_VOCAB = 6, 23, 5, 19
COUNTS = (1, 3, 2, 1, 5, 1, 1, 4)
LASTS = (False, False, True, False, False, False, False, True)
GIVEN = (False, True, False, True, True, False, True, True)
EPSILON = 1e-5


class Case:
    """Random rows in chunks of two documents."""

    def __init__(self, seed: int = 0, dtype: torch.dtype = torch.float64) -> None:
        draw = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype)

        rows = sum(COUNTS)
        self.hidden, self.weight = normal(rows, HIDDEN), normal(VOCAB, HIDDEN)
        self.targets = torch.randint(VOCAB, (rows,), generator=draw)
        document = torch.tensor([0] * sum(COUNTS[:3]) + [1] * sum(COUNTS[3:]))
        self.weights = torch.tensor([0.2, 0.05])[document]
        self.chunk = torch.repeat_interleave(torch.arange(len(COUNTS)), torch.tensor(COUNTS))
        self.teacher_log = -4.0 * torch.rand(len(COUNTS), generator=draw, dtype=torch.float64)
        self.boundary = torch.rand(VOCAB, generator=draw) < 0.3
        for k, given in enumerate(GIVEN):  # such a chunk begins with a boundary token
            if given:
                self.targets[sum(COUNTS[:k])] = self.boundary.nonzero()[k % 3, 0]
        self.teacher = TeacherRows(
            hidden_RG=normal(len(COUNTS), TEACHER_HIDDEN), weight_UG=normal(TEACHER_VOCAB, TEACHER_HIDDEN), scale=0.7
        )
        self.common = VocabularyMap(student_M=torch.tensor([0, 2, 3, 9, 22]), teacher_M=torch.tensor([4, 0, 18, 7, 11]))

    def chunks(self, mix: AcrossMix) -> ChunkRows:
        return ChunkRows(
            chunk_R=self.chunk,
            teacher_K=self.teacher_log,
            follows_K=~torch.tensor(LASTS),
            boundary_V=self.boundary if mix.debias != "none" else None,
            given_K=torch.tensor(GIVEN) if mix.debias == "both" else None,
        )

    def run(self, mix: AcrossMix, **more: Any) -> AcrossResult:
        given: dict[str, Any] = {"grad_weight_VH": None, "scale": 1.3, **more}
        return across_head(
            self.hidden,
            self.weight,
            self.targets,
            self.weights,
            given.pop("chunks", self.chunks(mix)),
            mix=mix,
            one_to_one=OneToOne(teacher=self.teacher, common=self.common) if mix.one_to_one else None,
            **given,
        )


def reference(case: Case, mix: AcrossMix) -> tuple[Tensor, Tensor, Tensor]:
    """The module's formula written out, chunk by chunk, differentiated by autograd in float64."""
    hidden, weight = (t.double().clone().requires_grad_() for t in (case.hidden, case.weight))
    log_q = torch.log_softmax(1.3 * hidden @ weight.T, 1)
    loss = torch.zeros((), dtype=torch.float64)
    for k, count in enumerate(COUNTS):
        start = sum(COUNTS[:k])
        rows = range(start, start + count)
        likelihood = sum((log_q[r, case.targets[r]] for r in rows), torch.zeros((), dtype=torch.float64))
        if mix.debias == "both" and GIVEN[k]:
            likelihood = likelihood - log_q[start, case.boundary].logsumexp(0)
        if mix.debias != "none" and not LASTS[k]:
            likelihood = likelihood + log_q[start + count, case.boundary].logsumexp(0)
        u, t = ((x - EPSILON) / mix.temperature for x in (likelihood, case.teacher_log[k]))
        p, q = (t.exp(), u.exp()) if mix.divergence == "forward_kl" else (u.exp(), t.exp())
        coin = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
        loss = loss + mix.chunk * case.weights[start].double() * mix.temperature * coin
        if mix.one_to_one:
            logits = 0.7 * case.teacher.hidden_RG[k].double() @ case.teacher.weight_UG.double().T
            coarse = []
            for probs, ids in ((logits.softmax(0), case.common.teacher_M), (log_q[start].exp(), case.common.student_M)):
                coarse.append(torch.cat((probs[ids], (1.0 - probs[ids].sum())[None])))
            kl = (coarse[0] * (coarse[0] / coarse[1]).log()).sum()
            loss = loss + mix.one_to_one * case.weights[start].double() * kl
        for r in rows:
            loss = loss - mix.ce * case.weights[r].double() * log_q[r, case.targets[r]]
    gradients = torch.autograd.grad(loss, (hidden, weight))
    return loss.detach(), gradients[0], gradients[1]


MIXES = {
    "chunk": AcrossMix(),
    "chunk, τ 1": AcrossMix(temperature=1.0),
    "reverse": AcrossMix(divergence="reverse_kl", temperature=10.0),
    "ce": AcrossMix(chunk=0.7, ce=0.4),
    "debiased": AcrossMix(debias="outcome", temperature=5.0),
    "debiased on both sides": AcrossMix(debias="both", temperature=5.0),
    "one to one": AcrossMix(chunk=0.0, one_to_one=1.0),
    "all": AcrossMix(chunk=0.5, ce=0.3, one_to_one=0.2, debias="both", temperature=20.0),
}


@pytest.mark.parametrize("rows_in_memory", [1, 2, 4, 100])
@pytest.mark.parametrize("name", MIXES)
def test_loss_and_gradients_against_autograd_however_small_the_pieces(name: str, rows_in_memory: int) -> None:
    case, mix = Case(), MIXES[name]
    loss, grad_hidden, grad_weight = reference(case, mix)
    buffer = torch.zeros_like(case.weight)
    row_bytes = 8 * VOCAB * (1 if mix.debias == "none" else 2)
    if mix.one_to_one:
        row_bytes += 8 * (2 * TEACHER_VOCAB + VOCAB + 15)
    found = case.run(mix, grad_weight_VH=buffer, logits_bytes=rows_in_memory * row_bytes)
    torch.testing.assert_close(found.loss, loss, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.grad_hidden_RH, grad_hidden, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(buffer, grad_weight, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", MIXES)
def test_float32_is_close(name: str) -> None:
    case, mix = Case(dtype=torch.float32), MIXES[name]
    loss, grad_hidden, _ = reference(case, mix)
    found = case.run(mix)
    torch.testing.assert_close(found.loss, loss, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.grad_hidden_RH.double(), grad_hidden, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("logits_bytes", [None, 10 * VOCAB * 6])
@pytest.mark.parametrize("name", MIXES)
def test_bfloat16_stays_near_and_gathers_the_heads_gradient_in_float32(name: str, logits_bytes: int | None) -> None:
    case, mix = Case(dtype=torch.bfloat16), MIXES[name]
    loss, grad_hidden, grad_weight = reference(case, mix)
    buffer = torch.zeros(VOCAB, HIDDEN)
    found = case.run(mix, grad_weight_VH=buffer, logits_bytes=logits_bytes)
    assert found.grad_hidden_RH.dtype == torch.bfloat16
    assert float(found.loss) == pytest.approx(float(loss), rel=0.02)
    assert float((found.grad_hidden_RH.double() - grad_hidden).norm() / grad_hidden.norm()) < 0.03
    assert float((buffer.double() - grad_weight).norm() / grad_weight.norm()) < 0.03


def test_three_products_a_row_and_memory_that_does_not_grow() -> None:
    def work(rows: int) -> OperatorLog:
        hidden, weight = torch.randn(rows, 8), torch.randn(512, 8)
        chunks = ChunkRows(
            chunk_R=torch.arange(rows) // 2,
            teacher_K=-torch.rand(rows // 2).double(),
            follows_K=torch.ones(rows // 2, dtype=torch.bool),
        )
        with OperatorLog() as log:
            across_head(
                hidden,
                weight,
                torch.zeros(rows, dtype=torch.int64),
                torch.ones(rows),
                chunks,
                mix=AcrossMix(ce=0.5),
                grad_weight_VH=torch.zeros_like(weight),
                logits_bytes=512 * 4 * 8,
            )
        return log

    small, large = work(64), work(256)
    products = [name for name in large.products if name in ("mm", "addmm_", "addmm")]
    assert len(products) == 3 * 32  # 8 rows a piece
    assert small.largest_bytes == large.largest_bytes == 512 * 4 * 8


def test_equal_likelihoods_leave_only_the_cross_entropy() -> None:
    case = Case()
    log_q = torch.log_softmax(1.3 * case.hidden @ case.weight.T, 1).gather(1, case.targets[:, None]).squeeze(1)
    case.teacher_log = torch.zeros(len(COUNTS), dtype=torch.float64).index_add_(0, case.chunk, log_q)
    found = case.run(AcrossMix())
    assert float(found.loss) == pytest.approx(0.0, abs=1e-12)
    assert float(found.grad_hidden_RH.abs().max()) < 1e-12
    assert float(found.sums["chunk_gap"][0]) < 1e-10
    mixed = case.run(AcrossMix(ce=1.0))
    plain = cross_entropy_head(case.hidden, case.weight, case.targets, case.weights, scale=1.3, grad_weight_VH=None)
    torch.testing.assert_close(mixed.grad_hidden_RH, plain.grad_hidden_RH)
    torch.testing.assert_close(mixed.sums["ce"][0], plain.cross_entropy)


def test_unknown_chunks_have_no_say() -> None:
    case, mix = Case(), AcrossMix(ce=0.3)
    known = case.run(mix, chunks=replace(case.chunks(mix), teacher_K=case.teacher_log.clone().fill_(float("nan"))))
    plain = case.run(AcrossMix(chunk=1e-300, ce=0.3))
    torch.testing.assert_close(known.grad_hidden_RH, plain.grad_hidden_RH)
    assert known.sums["chunk_divergence"][1] == 0
    teacher = case.teacher_log.clone()
    teacher[2] = float("nan")
    some = case.run(mix, chunks=replace(case.chunks(mix), teacher_K=teacher))
    assert some.sums["chunk_divergence"][1] == len(COUNTS) - 1
    rows = case.chunk == 2
    torch.testing.assert_close(some.grad_hidden_RH[rows], plain.grad_hidden_RH[rows])
    torch.testing.assert_close(some.grad_hidden_RH[~rows], case.run(mix).grad_hidden_RH[~rows])


def test_the_same_vocabulary_makes_the_one_to_one_term_the_whole_kl() -> None:
    case = Case()
    teacher = TeacherRows(hidden_RG=torch.randn(len(COUNTS), HIDDEN).double(), weight_UG=case.weight, scale=1.0)
    every = torch.arange(VOCAB)
    found = across_head(
        case.hidden,
        case.weight,
        case.targets,
        case.weights,
        case.chunks(AcrossMix()),
        mix=AcrossMix(chunk=0.0, one_to_one=1.0),
        one_to_one=OneToOne(teacher=teacher, common=VocabularyMap(student_M=every, teacher_M=every)),
        grad_weight_VH=None,
    )
    starts = torch.tensor([sum(COUNTS[:k]) for k in range(len(COUNTS))])
    log_p = torch.log_softmax(teacher.hidden_RG @ case.weight.T, 1)
    log_q = torch.log_softmax(case.hidden[starts] @ case.weight.T, 1)
    full = (log_p.exp() * (log_p - log_q)).sum(1)
    torch.testing.assert_close(found.sums["one_to_one_kl"][0], full.sum())


def test_coarsening_never_raises_the_kl() -> None:
    """Data processing: KL over fewer outcomes is a lower bound of KL over more."""
    case = Case(3)
    case.teacher = TeacherRows(hidden_RG=torch.randn(len(COUNTS), HIDDEN).double(), weight_UG=case.weight)
    before = 0.0
    for count in (1, 4, 9, 16, VOCAB):
        ids = torch.arange(count)
        case.common = VocabularyMap(student_M=ids, teacher_M=ids)
        value = float(case.run(AcrossMix(chunk=0.0, one_to_one=1.0)).sums["one_to_one_kl"][0])
        assert value >= before - 1e-12
        before = value


def test_wrong_options_are_refused() -> None:
    for wrong in (
        {"chunk": 0.0},
        {"chunk": 0.0, "ce": 1.0},
        {"ce": -0.1},
        {"temperature": 0.0},
        {"temperature": float("nan")},
        {"divergence": "forward"},
        {"debias": "before"},
        {"least_boundary": 0.1},
        {"least_boundary": 1.0, "debias": "outcome"},
    ):
        with pytest.raises(RecipeError):
            AcrossMix(**wrong)


def test_what_does_not_fit_is_refused() -> None:
    case, mix = Case(), AcrossMix()
    good = case.chunks(mix)
    for chunks in (
        replace(good, chunk_R=good.chunk_R[:-1]),
        replace(good, chunk_R=good.chunk_R.flip(0)),
        replace(good, teacher_K=good.teacher_K[:-1]),
        replace(good, boundary_V=case.boundary),
    ):
        with pytest.raises(CompatibilityError):
            case.run(mix, chunks=chunks)
    debias = AcrossMix(debias="outcome")
    with pytest.raises(CompatibilityError, match="Boundary"):
        case.run(debias, chunks=good)
    with pytest.raises(CompatibilityError, match="Boundary flags"):
        case.run(debias, chunks=replace(good, boundary_V=case.boundary[:-1]))
    case.teacher = TeacherRows(hidden_RG=case.teacher.hidden_RG[:-1], weight_UG=case.teacher.weight_UG)
    with pytest.raises(CompatibilityError, match="chunk starts"):
        case.run(AcrossMix(one_to_one=1.0))
    with pytest.raises(CompatibilityError, match="distributions, and there are none"):
        across_head(
            case.hidden,
            case.weight,
            case.targets,
            case.weights,
            good,
            mix=AcrossMix(one_to_one=1.0),
            grad_weight_VH=None,
        )


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl"])
def test_descent_reaches_the_teacher(divergence: ChunkDistance) -> None:
    case = Case(5)
    mix = AcrossMix(divergence=divergence)
    first = float(case.run(mix).sums["chunk_gap"][0])
    for _ in range(150):
        case.hidden -= 2.0 * case.run(mix).grad_hidden_RH
    assert float(case.run(mix).sums["chunk_gap"][0]) < 0.25 * first
