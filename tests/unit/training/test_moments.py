from __future__ import annotations

import math
import sys

import bitsandbytes
import pytest
import torch
from torch import nn

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.decoder.quantised import bitsandbytes_functions
from spiritsafe.training import moments as module
from spiritsafe.training.config import TrainConfig
from spiritsafe.training.moments import dequantise, quantise
from spiritsafe.training.optimiser import AdamW


def make(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate(
        {"learning_rate": 1.0, "tokens_per_step": 1, "micro_batch_tokens": 1, "max_steps": 1, "moments": "8bit"}
        | changes
    )


def network(seed: int = 0, width: int = 256) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(width, 48), nn.Tanh(), nn.LayerNorm(48), nn.Linear(48, 4))


def loss_of(model: nn.Module, step: int, width: int = 256) -> torch.Tensor:
    """A regression on a function of the input, a batch a step."""
    x = torch.randn(32, width, generator=torch.Generator().manual_seed(step))
    wanted = torch.stack([x[:, :8].sum(1), x[:, 8:16].prod(1), x[:, 0] * x[:, 1], x[:, 2].abs()], dim=1)
    loss: torch.Tensor = (model(x) - wanted).square().mean()
    return loss


def train(config: TrainConfig, num_steps: int = 60, width: int = 256) -> tuple[AdamW, list[float]]:
    model = network(width=width)
    optimiser = AdamW(model, config, torch.float32)
    losses = []
    for step in range(num_steps):
        optimiser.zero_gradients()
        loss = loss_of(model, step, width)
        loss.backward()
        optimiser.update(3e-3, float(optimiser.gradient_norm()))
        losses.append(loss.item())
    return optimiser, losses


def test_one_update_after_another_is_that_of_bitsandbytes_own_optimiser() -> None:
    torch.manual_seed(1)
    start, gradients = torch.randn(32, 512), [torch.randn(32, 512) for _ in range(6)]
    ours, theirs = nn.Linear(512, 32, bias=False), nn.Parameter(start.clone())
    ours.weight.data.copy_(start)
    optimiser = AdamW(ours, make(max_grad_norm=None, weight_decay=0.0), torch.float32)
    peer = bitsandbytes.optim.AdamW8bit([theirs], lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    for gradient in gradients:
        optimiser.gradients[0].copy_(gradient)
        optimiser.update(1e-2, 1.0)
        theirs.grad = gradient.clone()
        peer.step()
    state = peer.state[theirs]
    assert optimiser.moments[0].dtype == state["state1"].dtype == torch.uint8
    for ours_8, theirs_8 in ((optimiser.moments[0], state["state1"]), (optimiser.second_moments[0], state["state2"])):
        apart = (ours_8.int() - theirs_8.view(32, 512).int()).abs()  # a number between two codes may take either
        assert (apart == 0).float().mean() > 0.98
        assert (apart <= 1).float().mean() > 0.995
    torch.testing.assert_close(optimiser.moment_scales[0].view(-1), state["absmax1"], rtol=0.02, atol=0.0)
    moved = (theirs.detach() - start).abs().mean()
    assert (ours.weight.detach() - theirs.detach()).abs().mean() < 1e-3 * moved


def test_the_curve_is_that_of_float32_moments() -> None:
    curves = [train(make(moments=kind))[1] for kind in ("8bit", "float32")]
    first, last = (
        sum(curve[part] for part in range(*where)) / 10 for curve in curves[1:] for where in ((10,), (50, 60))
    )
    assert last < 0.7 * first  # it learns something
    for ours, exact in zip(*curves, strict=True):
        assert math.isclose(ours, exact, rel_tol=0.05)


def test_codes_mean_nearly_the_number_and_a_row_is_on_its_own() -> None:
    values = torch.randn(20, 700, generator=torch.Generator().manual_seed(2)) * torch.logspace(-6, 3, 20)[:, None]
    codes, scales = quantise(values, signed=True)
    assert codes.shape == values.shape
    assert scales.shape == (20, 3)
    again = dequantise(codes, scales, signed=True)
    assert ((again - values).abs() <= 0.05 * values.abs().amax(dim=1, keepdim=True)).all()
    alone, own = quantise(values[7:9], signed=True)
    assert torch.equal(alone, codes[7:9])
    assert torch.equal(own, scales[7:9])


def test_no_second_moment_is_rounded_away() -> None:
    values = torch.cat([torch.ones(2, 1), torch.full((2, 200), 1e-12), torch.zeros(2, 99)], dim=1)
    codes, scales = quantise(values, signed=False)
    again = dequantise(codes, scales, signed=False)
    assert (again[:, 1:201] > 0).all()
    assert (again[:, 201:] == 0).all()


def test_a_slab_at_a_time_is_the_whole_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = train(make(), 3, width=300)
    monkeypatch.setitem(module._SLAB_NUMBERS, "cpu", 700)
    slabs, _ = train(make(), 3, width=300)
    for kind in whole.state_kinds:
        assert all(torch.equal(a, b) for a, b in zip(getattr(whole, kind), getattr(slabs, kind), strict=True))
    assert whole.num_updates == slabs.num_updates == 3


def test_a_missing_library_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bitsandbytes_functions.cache_clear()
    monkeypatch.delattr(bitsandbytes, "functional")
    monkeypatch.setitem(sys.modules, "bitsandbytes.functional", None)
    with pytest.raises(CompatibilityError, match="bitsandbytes") as caught:
        AdamW(network(), make(moments="8bit"), torch.float32)
    assert "spiritsafe[quant]" in caught.value.hint
    AdamW(network(), make(moments="float32"), torch.float32)
