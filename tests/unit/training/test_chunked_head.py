from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from tiny_training import OperatorLog
from torch import Tensor, nn

from spiritsafe.training.chunked_head import (
    ChunkedHead,
    ChunkLogits,
    add_weight_gradient,
    even_slices,
    gradient_buffer,
    rows_of_chunk,
)

R, H, V = 37, 11, 53


def inputs(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((R, H), (V, H)))
    return hidden.to(dtype), weight.to(dtype)


def squares(rows: slice, logits_CV: Tensor, grad_CV: Tensor) -> tuple[Tensor, Tensor]:
    """A loss that nobody has: half the squared logits of each row; it tells of them and of the rows' places."""
    told = (logits_CV.square().sum(1) / 2, torch.arange(rows.start, rows.stop))
    grad_CV.copy_(logits_CV * SCALE)
    return told


SCALE = 0.5
GROUPS = [[slice(0, 5), slice(5, 9)], [slice(9, 10)], [slice(10, 24), slice(24, R)]]


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["a chunk", "groups"])
@pytest.mark.parametrize(
    ("dtype", "near"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 1e-2)], ids=["64", "32", "16"]
)
def test_a_loss_of_rows_becomes_the_gradients_of_hidden_states_and_weight(
    dtype: torch.dtype, near: float, groups: Sequence[Sequence[slice]] | None
) -> None:
    hidden, weight = inputs(dtype)
    buffer = torch.ones(V, H, dtype=torch.promote_types(dtype, torch.float32))
    head = ChunkedHead(hidden, weight, scale=SCALE, grad_weight_VH=buffer, most_rows=14)
    loss_R, places_R = head.run(squares, groups)
    exact_hidden, exact_weight = hidden.double().requires_grad_(), weight.double().requires_grad_()
    exact_R = (exact_hidden @ exact_weight.t() * SCALE).square().sum(1) / 2
    exact_R.sum().backward()
    assert places_R.tolist() == list(range(R))
    assert head.grad_hidden_RH.dtype == dtype
    for ours, exact in (
        (loss_R, exact_R.detach()),
        (head.grad_hidden_RH, exact_hidden.grad),
        (buffer - 1.0, exact_weight.grad),
    ):
        assert exact is not None
        assert float((ours.double() - exact).norm() / exact.norm()) < near


def test_a_group_in_half_precision_is_multiplied_at_once_and_a_frozen_head_costs_a_product_less() -> None:
    hidden, weight = inputs(torch.bfloat16)
    counts = []
    for buffer in (torch.zeros(V, H), None):
        with OperatorLog() as log:
            ChunkedHead(hidden, weight, grad_weight_VH=buffer, most_rows=14).run(squares, GROUPS)
        counts.append(len(log.products))
    assert counts[0] - counts[1] == len(GROUPS)


def test_gradients_of_rows_that_are_read_twice_add_up() -> None:
    hidden, weight = inputs(torch.float64)
    buffer = torch.zeros(V, H, dtype=torch.float64)
    head = ChunkedHead(hidden, weight, grad_weight_VH=buffer, most_rows=R)
    grad = torch.randn(R, V, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for rows in (slice(0, 20), slice(19, R)):
        head.add_gradient(rows, grad[rows])
    grad[19] *= 2.0
    torch.testing.assert_close(head.grad_hidden_RH, grad @ weight)
    torch.testing.assert_close(buffer, grad.t() @ hidden)


def test_logits_of_all_chunks_lie_in_the_same_memory() -> None:
    hidden, weight = inputs(torch.float32)
    logits = ChunkLogits(hidden, weight, most_rows=9, scale=0.25)
    places, seen = set(), []
    for rows, logits_CV in logits.in_chunks(slice(3, R)):
        places.add(logits_CV.data_ptr())
        seen.append(logits_CV.clone())
        assert rows.stop - rows.start <= 9
    assert len(places) == 1
    torch.testing.assert_close(torch.cat(seen), (hidden @ weight.t() * 0.25)[3:])


def test_chunks_are_even_and_cover_all_rows() -> None:
    rows = torch.zeros(10, 1)
    assert [(c.start, c.stop) for c in even_slices(0, 10, 4)] == [(0, 3), (3, 6), (6, 10)]
    assert rows_of_chunk(rows, 100, logits_bytes=450) == 4
    assert rows_of_chunk(rows, 100, logits_bytes=1) == 1


def test_weight_gradient_through_lower_precision_covers_the_whole_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiritsafe.training.chunked_head._VOCAB_SLICE", 7)
    grad_logits, hidden = torch.randn(5, V).bfloat16(), torch.randn(5, H).bfloat16()
    buffer = torch.zeros(V, H)
    with OperatorLog() as log:
        add_weight_gradient(buffer, grad_logits, hidden)
    torch.testing.assert_close(buffer, grad_logits.float().T @ hidden.float(), rtol=0.02, atol=0.02)
    assert log.largest_bytes <= V * H * 4


def test_gradient_buffer_is_the_parameters_own() -> None:
    parameter = nn.Parameter(torch.ones(3, 2))
    buffer = gradient_buffer(parameter)
    assert buffer is not None
    assert buffer is parameter.grad
    assert gradient_buffer(parameter) is buffer
    assert gradient_buffer(nn.Parameter(torch.ones(3, 2), requires_grad=False)) is None


def test_gradient_buffer_of_a_half_precision_parameter_is_float32_and_autograd_adds_to_it() -> None:
    parameter = nn.Parameter(torch.ones(3, 2, dtype=torch.bfloat16))
    buffer = gradient_buffer(parameter)
    assert buffer is not None
    assert buffer.dtype == torch.float32
    (parameter * 2).sum().backward()
    assert parameter.grad is buffer
    assert torch.equal(buffer, torch.full((3, 2), 2.0))
