from __future__ import annotations

import math

import pytest
import torch
from tiny_training import one_thread
from torch import nn

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.training import optimiser as module
from spiritsafe.training.config import TrainConfig
from spiritsafe.training.distributed.processes import Parallel
from spiritsafe.training.optimiser import STATE_KINDS, AdamW


def make(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate(
        {"learning_rate": 1.0, "tokens_per_step": 1, "micro_batch_tokens": 1, "max_steps": 1} | changes
    )


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 4))


def loss_of(model: nn.Module, seed: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    dtype = next(model.parameters()).dtype
    return scale * model(torch.randn(16, 6, generator=generator).to(dtype)).square().sum()


@pytest.mark.parametrize("limit", [None, 0.5])
def test_updates_equal_torch_with_clipping_and_decay_of_matrices_only(limit: float | None) -> None:
    ours, theirs = network(), network()
    config = make(weight_decay=0.1, max_grad_norm=limit, betas=(0.9, 0.99))
    optimiser = AdamW(ours, config, torch.float32)
    matrices = [p for p in theirs.parameters() if p.dim() >= 2]
    vectors = [p for p in theirs.parameters() if p.dim() < 2]
    reference = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.9, 0.99),
        fused=False,
        foreach=False,
    )
    for step in range(20):
        rate = 0.01 / (step + 1)
        optimiser.zero_gradients()
        loss_of(ours, step).backward()
        norm = float(optimiser.gradient_norm())
        optimiser.update(rate, norm)
        reference.zero_grad()
        loss_of(theirs, step).backward()
        expected = float(nn.utils.clip_grad_norm_(theirs.parameters(), math.inf if limit is None else limit))
        for group in reference.param_groups:
            group["lr"] = rate
        reference.step()
        assert norm == pytest.approx(expected, rel=1e-5)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_in_float32_the_parameter_is_its_own_master_and_the_gradient_buffer_stays() -> None:
    model = network()
    optimiser = AdamW(model, make(), torch.float32)
    for p, master, gradient in zip(model.parameters(), optimiser.masters, optimiser.gradients, strict=True):
        assert p.data_ptr() == master.data_ptr()
        assert p.grad is gradient
    optimiser.zero_gradients()
    loss_of(model, 0).backward()
    loss_of(model, 1).backward()
    for p, gradient in zip(model.parameters(), optimiser.gradients, strict=True):
        assert p.grad is gradient
        assert gradient.abs().sum() > 0


def test_bfloat16_gradients_accumulate_in_float32() -> None:
    model = nn.Linear(1, 1, bias=False)
    optimiser = AdamW(model, make(compute_dtype="bfloat16"), torch.bfloat16)
    optimiser.zero_gradients()
    big, small = 256.0, 0.5  # 256.5 is not a bfloat16 number
    for value in (big, small):
        model(torch.full((1, 1), value, dtype=torch.bfloat16)).sum().backward()
    assert optimiser.gradients[0].dtype == torch.float32
    assert float(optimiser.gradients[0]) == 256.5


def test_masters_keep_updates_that_bfloat16_would_lose() -> None:
    model = nn.Linear(8, 8, bias=False)
    nn.init.ones_(model.weight)
    optimiser = AdamW(model, make(compute_dtype="bfloat16", weight_decay=0.0), torch.bfloat16)
    shares = []
    for _ in range(100):
        optimiser.zero_gradients()
        model(torch.ones(1, 8, dtype=torch.bfloat16)).sum().backward()
        # Each update moves the weights from 1 down by 1e-4; bfloat16 resolves 2**-8 = 4e-3 below 1.
        shares.append(optimiser.update(1e-4, float(optimiser.gradient_norm())).changed_share)
    assert model.weight.dtype == torch.bfloat16
    assert float(optimiser.masters[0][0, 0]) == pytest.approx(0.99, abs=1e-4)
    assert float(model.weight.detach()[0, 0]) == pytest.approx(0.99, abs=2e-3)
    assert shares[0] == 0.0
    assert 0.0 < sum(shares) < 10.0


def test_effect_counts_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Linear(10, 10, bias=False)
    nn.init.constant_(model.weight, 2.0)

    def effect() -> module.UpdateEffect:
        optimiser = AdamW(model, make(weight_decay=0.0, max_grad_norm=None), torch.float32)
        gradient = optimiser.gradients[0]
        gradient[:5] = 1.0  # half of the rows; Adam moves each by the rate, whatever the size
        return optimiser.update(0.02, float(optimiser.gradient_norm()))

    exact = effect()
    assert exact.changed_share == 0.5
    assert exact.update_ratio == pytest.approx(0.02 * math.sqrt(50) / (2.0 * 10), rel=1e-3)
    nn.init.constant_(model.weight, 2.0)
    monkeypatch.setattr(module, "_EXACT_WEIGHTS", 10)
    monkeypatch.setattr(module, "_SAMPLED_WEIGHTS", 50)
    sampled = effect()
    assert sampled.changed_share == pytest.approx(0.5, abs=0.1)
    assert sampled.update_ratio == pytest.approx(exact.update_ratio, rel=0.1)


def test_gradient_norm_is_exact_for_large_matrices() -> None:
    with one_thread():
        model = nn.Linear(512, 8192, bias=False)
        optimiser = AdamW(model, make(), torch.float32)
        optimiser.gradients[0].normal_(generator=torch.Generator().manual_seed(0))
        expected = float(optimiser.gradients[0].double().norm())
        assert float(optimiser.gradient_norm()) == pytest.approx(expected, rel=1e-6)


def test_bad_gradients_are_named() -> None:
    optimiser = AdamW(network(), make(), torch.float32)
    optimiser.gradients[2][0] = math.inf
    optimiser.gradients[5][0] = math.nan
    assert optimiser.names_of_bad_gradients() == ["1.weight", "2.bias"]
    assert math.isnan(float(optimiser.gradient_norm()))


def test_frozen_parameters_stay_and_a_frozen_model_is_refused() -> None:
    model = network()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    optimiser = AdamW(model, make(), torch.float32)
    assert "0.weight" not in optimiser.names
    loss_of(model, 0).backward()
    optimiser.update(0.1, float(optimiser.gradient_norm()))
    assert torch.equal(model[0].weight, before)
    AdamW(model, make(), torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    with pytest.raises(CompatibilityError, match="no trainable"):
        AdamW(network().requires_grad_(False), make(), torch.float32)


@pytest.mark.parametrize("came_in", [torch.float32, torch.float16, torch.bfloat16])
def test_frozen_parameters_end_as_they_came_and_what_learnt_keeps_its_small_updates(came_in: torch.dtype) -> None:
    """Half precision computes; it must not be what a frozen weight, or an adapter's many small updates, end as."""
    model = network()
    model[0].requires_grad_(False).to(came_in)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = AdamW(model, make(compute_dtype="bfloat16"), torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    for seed in range(3):
        optimiser.zero_gradients()
        loss_of(model, seed).backward()
        optimiser.update(1e-5, float(optimiser.gradient_norm()))
    masters = dict(zip(optimiser.names, [master.clone() for master in optimiser.masters], strict=True))
    optimiser.close()
    # a base that came in the compute dtype stays in it, with all that computes beside it
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16 if came_in == torch.bfloat16 else torch.float32}
    for name, p in model.named_parameters():
        if name in masters:
            assert torch.equal(p, masters[name].to(p.dtype))
        else:
            assert torch.equal(p, before[name].to(p.dtype))
    loss_of(model, 0)  # and it computes


def test_only_what_half_precision_cannot_hold_is_kept_twice() -> None:
    model = network()
    model[0].requires_grad_(False)
    model[0].weight.data = model[0].weight.data.bfloat16().float()  # as a checkpoint in bfloat16 is loaded
    optimiser = AdamW(model, make(compute_dtype="bfloat16"), torch.bfloat16)
    assert [one.original is None for one in optimiser._frozen] == [True, False]


def test_close_gives_gradients_and_moments_back() -> None:
    model = network()
    optimiser = AdamW(model, make(), torch.float32)
    optimiser.close()
    assert all(p.grad is None for p in model.parameters())
    assert not optimiser.moments
    assert not optimiser.gradients


def test_state_is_what_is_restored() -> None:
    optimiser = AdamW(network(), make(), torch.float32)
    for gradient in optimiser.gradients:
        gradient.fill_(1.0)
    optimiser.sum_gradients()
    assert all(bool((gradient == 1.0).all()) for gradient in optimiser.gradients)
    optimiser.update(0.1, 1.0)
    kept = {kind: [t.clone() for t in optimiser.whole_state(kind)] for kind in STATE_KINDS}
    assert len(kept["masters"]) == len(optimiser.names)
    optimiser.update(0.1, 1.0)
    for kind in STATE_KINDS:
        assert not torch.equal(getattr(optimiser, kind)[0], kept[kind][0])
        optimiser.restore_state(kind, kept[kind])
        for mine, wanted in zip(getattr(optimiser, kind), kept[kind], strict=True):
            assert torch.equal(mine, wanted)


def test_processes_together_write_once_what_each_of_them_holds_whole() -> None:
    optimisers = [AdamW(network(), make(), torch.float32, Parallel(rank=rank, size=3)) for rank in range(3)]
    parts = [optimiser.pieces(shared=True, copied=True) for optimiser in optimisers]
    for whole, *own in zip(optimisers[0].pieces(), *parts, strict=True):
        assert {piece.name for piece in own} == {whole.name}
        assert {piece.shape for piece in own} == {tuple(whole.rows.shape)}
        assert torch.equal(torch.cat([piece.rows for piece in own]), whole.rows)
        assert [piece.first for piece in own] == [0, *torch.tensor([len(p.rows) for p in own]).cumsum(0)[:-1].tolist()]
        assert all(piece.rows.data_ptr() != whole.rows.data_ptr() for piece in own)


def test_a_float32_weight_becomes_the_master_as_it_lies_there() -> None:
    model = nn.Linear(8, 8)
    before = {parameter.data_ptr() for parameter in model.parameters()}
    config = TrainConfig(learning_rate=1e-3, tokens_per_step=8, micro_batch_tokens=8, max_steps=1)
    optimiser = AdamW(model, config, torch.bfloat16)
    assert {master.data_ptr() for master in optimiser.masters} == before
    assert all(parameter.dtype == torch.bfloat16 for parameter in model.parameters())
    optimiser.close()
    assert {parameter.data_ptr() for parameter in model.parameters()} == before
