from __future__ import annotations

import dataclasses

import pytest
import torch
from distil_reference import H, Problem, V, problem, reference
from tiny_training import OperatorLog
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.distil.losses.divergences import LossMix
from spiritsafe.distil.losses.exact_head import distil_head
from spiritsafe.distil.losses.lora_head import LoraHead

K = 3
MIX = LossMix(forward_kl=0.5, reverse_kl=0.5, ce=0.2, temperature=1.5)


def adapter(dtype: torch.dtype) -> LoraHead:
    generator = torch.Generator().manual_seed(5)
    a, b = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((K, H), (V, K)))
    wide = torch.float32 if dtype == torch.bfloat16 else dtype
    return LoraHead(
        a_KH=a.to(dtype),
        b_VK=b.to(dtype),
        scale=0.5,
        grad_a_KH=torch.ones(K, H, dtype=wide),
        grad_b_VK=torch.ones(V, K, dtype=wide),
    )


def merged(case: Problem, lora: LoraHead, scale: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Loss and gradients by hidden states, A, B and W, from merged weights by the chain rule."""
    weight = case.weight.double() + lora.scale * lora.b_VK.double() @ lora.a_KH.double()
    loss, grad_hidden, grad_weight, _ = reference(dataclasses.replace(case, weight=weight), MIX, scale)
    grad_a = lora.scale * lora.b_VK.double().T @ grad_weight
    grad_b = lora.scale * grad_weight @ lora.a_KH.double().T
    return loss, grad_hidden, grad_a, grad_b, grad_weight


@pytest.mark.parametrize("scale", [1.0, 0.125])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("logits_bytes", [None, 2 * 8 * V * 5])
def test_gradients_equal_those_of_merged_weights(scale: float, frozen: bool, logits_bytes: int | None) -> None:
    case, lora = problem(torch.float64), adapter(torch.float64)
    loss, grad_hidden, grad_a, grad_b, grad_weight = merged(case, lora, scale)
    buffer = None if frozen else torch.zeros(V, H, dtype=torch.float64)
    result = distil_head(
        case.hidden,
        case.weight,
        case.teacher,
        case.targets,
        case.weights,
        mix=MIX,
        scale=scale,
        grad_weight_VH=buffer,
        lora=lora,
        logits_bytes=logits_bytes,
    )
    torch.testing.assert_close(result.loss, loss, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(result.grad_hidden_RH, grad_hidden, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(lora.grad_a_KH, 1.0 + grad_a, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(lora.grad_b_VK, 1.0 + grad_b, rtol=1e-9, atol=1e-11)
    if buffer is not None:
        torch.testing.assert_close(buffer, grad_weight, rtol=1e-9, atol=1e-11)


def test_bfloat16_stays_near() -> None:
    case, lora = problem(torch.bfloat16), adapter(torch.bfloat16)
    loss, grad_hidden, grad_a, grad_b, _ = merged(case, lora, 1.0)
    result = distil_head(
        case.hidden, case.weight, case.teacher, case.targets, case.weights, mix=MIX, grad_weight_VH=None, lora=lora
    )
    assert float(result.loss) == pytest.approx(float(loss), rel=1e-2)
    for found, exact in (
        (result.grad_hidden_RH, grad_hidden),
        (lora.grad_a_KH - 1, grad_a),
        (lora.grad_b_VK - 1, grad_b),
    ):
        assert float((found.double() - exact).norm() / exact.norm()) < 0.03


def test_three_large_products_and_only_thin_ones_beside() -> None:
    case, lora = problem(torch.float32), adapter(torch.float32)
    with OperatorLog() as log:
        distil_head(
            case.hidden, case.weight, case.teacher, case.targets, case.weights, mix=MIX, grad_weight_VH=None, lora=lora
        )
    assert len(log.products) == 3 + 7


@pytest.mark.parametrize("change", ["a_KH", "b_VK"])
def test_an_adapter_of_another_head_is_refused(change: str) -> None:
    case, lora = problem(torch.float32), adapter(torch.float32)
    broken = dataclasses.replace(lora, **{change: getattr(lora, change)[1:]})
    with pytest.raises(CompatibilityError, match="adapter"):
        distil_head(
            case.hidden,
            case.weight,
            case.teacher,
            case.targets,
            case.weights,
            mix=MIX,
            grad_weight_VH=None,
            lora=broken,
        )
