"""The loss head on a GPU: half precision against float64, and the compiled row mathematics."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from distil_reference import H, V, problem, reference

from spiritsafe.distil.losses import exact_head as loss_head
from spiritsafe.distil.losses.divergences import LossMix
from spiritsafe.distil.losses.exact_head import distil_head
from spiritsafe.distil.signal import TeacherRows
from spiritsafe.training.chunked_head import add_weight_gradient

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("default"),  # torch's compiler warns of its own parts
]

MIXES: dict[str, dict[str, float]] = {
    "forward": {"forward_kl": 1.0},
    "forward and ce": {"forward_kl": 0.7, "ce": 0.3, "temperature": 2.0},
    "reverse": {"reverse_kl": 1.0},
    "jsd": {"jsd": 1.0, "jsd_beta": 0.3},
    "skew": {"skew_forward_kl": 1.0, "skew_reverse_kl": 0.5},
}


@pytest.mark.parametrize("vocabs", [(V, V), (V + 11, V)])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", MIXES)
def test_bfloat16_stays_near_float64(
    name: str, compiled: bool, vocabs: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(loss_head, "_backend", lambda device: None)
    mix = LossMix(**MIXES[name])
    for rows in (300, 299, 64):
        case = problem(torch.bfloat16, vocab=vocabs[0], teacher_vocab=vocabs[1], rows=rows, device="cuda")
        loss, grad_hidden, grad_weight, _ = reference(case, mix, 0.5)
        buffer = torch.zeros(vocabs[0], H, device="cuda")
        result = distil_head(
            case.hidden,
            case.weight,
            case.teacher,
            case.targets,
            case.weights,
            mix=mix,
            scale=0.5,
            grad_weight_VH=buffer,
            logits_bytes=vocabs[0] * 16 * 50,
        )
        assert float(result.loss) == pytest.approx(float(loss), rel=1e-3)
        assert float((result.grad_hidden_RH.double() - grad_hidden).norm() / grad_hidden.norm()) < 0.01
        assert float((buffer.double() - grad_weight).norm() / grad_weight.norm()) < 0.01


@pytest.mark.parametrize("name", MIXES)
def test_float32_compiled_equals_float64(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    mix, case = LossMix(**MIXES[name]), problem(torch.float32, rows=200, device="cuda")
    loss, grad_hidden, grad_weight, _ = reference(case, mix, 1.0)
    buffer = torch.zeros(V, H, device="cuda")
    result = distil_head(
        case.hidden, case.weight, case.teacher, case.targets, case.weights, mix=mix, grad_weight_VH=buffer
    )
    assert float(result.loss) == pytest.approx(float(loss), rel=1e-5)
    torch.testing.assert_close(result.grad_hidden_RH.double(), grad_hidden, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(buffer.double(), grad_weight, rtol=1e-4, atol=1e-5)


def test_memory_stays_in_the_budget_however_many_rows() -> None:
    vocab, width, budget = 32768, 256, 64 << 20
    peaks = []
    for rows in (2048, 8192):
        generator: dict[str, Any] = {"device": "cuda", "dtype": torch.bfloat16}
        case = problem(torch.bfloat16, vocab=4, teacher_vocab=4, rows=rows, device="cuda")
        hidden, weight = torch.randn(rows, width, **generator), torch.randn(vocab, width, **generator)
        teacher = TeacherRows(hidden_RG=hidden, weight_UG=weight)
        buffer = torch.zeros(vocab, width, device="cuda")
        for _ in range(2):  # the first compiles
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            distil_head(
                hidden,
                weight,
                teacher,
                case.targets,
                case.weights,
                mix=LossMix(forward_kl=1.0),
                grad_weight_VH=buffer,
                logits_bytes=budget,
            )
            peak = torch.cuda.max_memory_allocated() - before
        peaks.append(peak - rows * (width * 2 + 64))
    assert max(peaks) <= 1.3 * budget
    assert abs(peaks[0] - peaks[1]) <= 0.1 * budget


def test_weight_gradients_gather_in_float32() -> None:
    """1 + 2⁻¹² added 4096 times: bfloat16 or float16 sums would stand still."""
    buffer = torch.ones(64, 32, device="cuda")
    row = torch.full((1, 64), 2.0**-6, device="cuda", dtype=torch.bfloat16)
    column = torch.full((1, 32), 2.0**-6, device="cuda", dtype=torch.bfloat16)
    for _ in range(4096):
        add_weight_gradient(buffer, row, column)
    torch.testing.assert_close(buffer, torch.full_like(buffer, 2.0))
