from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from cache_parts import open_cache, tiny_documents, tiny_teacher
from tiny_training import OperatorLog, one_thread, tiny_decoder

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.distil import DistilObjective, LiveTeacher, LossMix, TeacherRows, distil_head
from spiritsafe.distil.cache import CaptureConfig, capture
from spiritsafe.distil.losses.sampled_head import sampled_head
from spiritsafe.distil.signal import SampledRows
from spiritsafe.training import TrainConfig, train

ROWS, HIDDEN, VOCAB = 23, 8, 41
MIX = LossMix(forward_kl=0.7, ce=0.3)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def _inputs(dtype: torch.dtype = torch.float64, vocab: int = VOCAB, rows: int = ROWS) -> dict[str, Any]:
    g = torch.Generator().manual_seed(0)
    probs = torch.rand(rows, 6, generator=g, dtype=torch.float64)
    probs[:, 4] = 0.0
    return {
        "hidden_RH": torch.randn(rows, HIDDEN, generator=g, dtype=torch.float64).to(dtype),
        "weight_VH": torch.randn(vocab, HIDDEN, generator=g, dtype=torch.float64).to(dtype),
        "teacher": SampledRows(
            ids_RK=torch.randint(0, VOCAB, (rows, 6), generator=g),  # some ids twice
            probs_RK=(probs / probs.sum(1, keepdim=True)),
            entropy_R=torch.rand(rows, generator=g, dtype=torch.float64),
        ),
        "targets_R": torch.randint(0, vocab, (rows,), generator=g),
        "weights_R": torch.rand(rows, generator=g, dtype=torch.float64),
    }


def _naive(inputs: dict[str, Any], mix: LossMix, scale: float) -> tuple[torch.Tensor, ...]:
    hidden = inputs["hidden_RH"].double().clone().requires_grad_(True)
    weight = inputs["weight_VH"].double().clone().requires_grad_(True)
    rows = inputs["teacher"]
    log_q = torch.log_softmax(hidden @ weight.t() * scale, 1)
    dense = torch.zeros_like(log_q).scatter_add_(1, rows.ids_RK, rows.probs_RK.double())
    kl = -(dense * log_q).sum(1) - rows.entropy_R
    ce = -log_q.gather(1, inputs["targets_R"][:, None]).squeeze(1)
    loss = ((mix.weight("forward_kl") * kl + mix.ce * ce) * inputs["weights_R"]).sum()
    loss.backward()
    return loss.detach(), hidden.grad, weight.grad, kl.detach(), ce.detach()


@pytest.mark.parametrize("mix", [MIX, LossMix(forward_kl=1.0), LossMix(ce=1.0)])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_loss_and_gradients_equal_float64_autograd(mix: LossMix, scale: float) -> None:
    inputs = _inputs()
    grad_VH = torch.ones(VOCAB, HIDDEN, dtype=torch.float64)
    result = sampled_head(**inputs, mix=mix, scale=scale, grad_weight_VH=grad_VH, logits_bytes=5 * VOCAB * 8)
    loss, grad_hidden, grad_weight, kl, ce = _naive(inputs, mix, scale)
    torch.testing.assert_close(result.loss, loss, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(result.grad_hidden_RH, grad_hidden, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(grad_VH - 1.0, grad_weight, rtol=1e-10, atol=1e-12)
    assert float(result.sums["kl"][0]) == pytest.approx(float(kl.sum()), rel=1e-10)
    assert float(result.sums["ce"][0]) == pytest.approx(float(ce.sum()), rel=1e-10)
    assert float(result.sums["teacher_entropy"][0]) == pytest.approx(float(inputs["teacher"].entropy_R.sum()))
    best = inputs["teacher"].ids_RK.gather(1, inputs["teacher"].probs_RK.argmax(1, keepdim=True)).squeeze(1)
    student = (inputs["hidden_RH"] @ inputs["weight_VH"].t()).argmax(1)
    assert result.sums["agreement"] == (float((best == student).sum()), ROWS)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_lower_precision_stays_close(dtype: torch.dtype, tolerance: float) -> None:
    inputs = _inputs(dtype)
    grad_VH = torch.zeros(VOCAB, HIDDEN)
    result = sampled_head(**inputs, mix=MIX, grad_weight_VH=grad_VH, logits_bytes=None)
    loss, grad_hidden, grad_weight, _, _ = _naive(inputs, MIX, 1.0)
    assert float(result.loss) == pytest.approx(float(loss), rel=tolerance)
    assert float((result.grad_hidden_RH - grad_hidden).norm() / grad_hidden.norm()) < tolerance
    assert float((grad_VH - grad_weight).norm() / grad_weight.norm()) < tolerance


def test_whole_rows_say_what_a_live_teacher_says() -> None:
    inputs = _inputs()
    g = torch.Generator().manual_seed(4)
    teacher = TeacherRows(
        hidden_RG=torch.randn(ROWS, 5, generator=g, dtype=torch.float64),
        weight_UG=torch.randn(VOCAB, 5, generator=g, dtype=torch.float64),
    )
    p = torch.softmax(teacher.hidden_RG @ teacher.weight_UG.t(), 1)
    rows = SampledRows(
        ids_RK=torch.arange(VOCAB).expand(ROWS, VOCAB), probs_RK=p, entropy_R=-(p * p.log()).sum(1), unbiased=True
    )
    live = distil_head(**{**inputs, "teacher": teacher}, mix=MIX, grad_weight_VH=None)
    kept = sampled_head(**{**inputs, "teacher": rows}, mix=MIX, grad_weight_VH=None)
    torch.testing.assert_close(kept.loss, live.loss)
    torch.testing.assert_close(kept.grad_hidden_RH, live.grad_hidden_RH)
    for name in ("kl", "ce", "teacher_entropy", "agreement"):
        assert float(kept.sums[name][0]) == pytest.approx(float(live.sums[name][0]))


def test_ids_beyond_the_students_vocabulary_are_renormalised_away() -> None:
    inputs = _inputs()
    rows = inputs["teacher"]
    padded = SampledRows(
        ids_RK=torch.cat((rows.ids_RK, torch.full((ROWS, 1), VOCAB + 3)), 1),
        probs_RK=torch.cat((0.75 * rows.probs_RK, torch.full((ROWS, 1), 0.25, dtype=torch.float64)), 1),
        entropy_R=rows.entropy_R,
    )
    one = sampled_head(**inputs, mix=MIX, grad_weight_VH=None)
    two = sampled_head(**{**inputs, "teacher": padded}, mix=MIX, grad_weight_VH=None)
    torch.testing.assert_close(two.loss, one.loss)
    torch.testing.assert_close(two.grad_hidden_RH, one.grad_hidden_RH)


def test_three_products_a_chunk_and_memory_flat_in_rows() -> None:
    largest = []
    for rows in (40, 320):
        inputs = _inputs(torch.float32, vocab=500, rows=rows)
        with OperatorLog() as log:
            sampled_head(**inputs, mix=MIX, grad_weight_VH=torch.zeros(500, HIDDEN), logits_bytes=20 * 500 * 4)
        assert len(log.products) == 3 * rows // 20
        largest.append(log.largest_bytes)
        with OperatorLog() as log:
            sampled_head(**inputs, mix=MIX, grad_weight_VH=None, logits_bytes=20 * 500 * 4)
        assert len(log.products) == 2 * rows // 20
    assert largest[0] == largest[1] == 20 * 500 * 4


@pytest.mark.parametrize(
    ("mix", "match"),
    [
        (LossMix(reverse_kl=1.0), "reverse_kl needs the whole vocabulary"),
        (LossMix(forward_kl=1.0, jsd=0.1), "jsd needs"),
        (LossMix(skew_forward_kl=1.0), "skew_forward_kl needs"),
        (LossMix(skew_reverse_kl=1.0), "skew_reverse_kl needs"),
        (LossMix(forward_kl=1.0, temperature=2.0), "temperature 1, not at 2"),
    ],
)
def test_losses_that_a_few_ids_cannot_serve_are_refused(mix: LossMix, match: str) -> None:
    with pytest.raises(CompatibilityError, match=match):
        sampled_head(**_inputs(), mix=mix, grad_weight_VH=None)


def test_rows_that_do_not_fit_are_refused() -> None:
    inputs = _inputs()
    fewer = {**inputs, "hidden_RH": inputs["hidden_RH"][:-1], "targets_R": inputs["targets_R"][:-1]}
    with pytest.raises(CompatibilityError, match="do not fit"):
        sampled_head(**fewer, mix=MIX, grad_weight_VH=None)


def _curve(signal: Any, directory: Path, documents: list[Any]) -> list[float]:
    config = TrainConfig(
        learning_rate=6e-3, tokens_per_step=300, micro_batch_tokens=300, max_steps=16, compute_dtype="float32"
    )
    objective = DistilObjective(signal, LossMix(forward_kl=1.0))
    result = train(tiny_decoder(vocab=260, layers=1), documents, objective, config, directory=directory)
    return [float(step["kl"]) for step in result.curve]


def test_training_from_a_cache_is_training_live(tmp_path: Path) -> None:
    documents, teacher = tiny_documents(24), tiny_teacher()
    capture(teacher, documents, CaptureConfig(threshold=0.02), tmp_path / "sampled")
    capture(teacher, documents, CaptureConfig(num_head=260, num_draws=1), tmp_path / "whole")
    live = torch.tensor(_curve(LiveTeacher(teacher.model), tmp_path / "a", documents))
    whole = torch.tensor(_curve(open_cache(tmp_path / "whole"), tmp_path / "b", documents))
    sampled = torch.tensor(_curve(open_cache(tmp_path / "sampled"), tmp_path / "c", documents))
    assert live[-1] < 0.6 * live[0]
    assert float((whole - live).abs().max()) < 0.01  # rounding of 8-bit probabilities and of float16 entropies
    assert float((sampled - live)[-8:].abs().mean()) < 0.1 * float(live[-8:].mean())
