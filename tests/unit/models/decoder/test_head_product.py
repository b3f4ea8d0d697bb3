"""Logits are float32 wherever they are compared or sampled, whatever the model computes in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import write_foreign
from tiny_student import tiny_student
from torch import Tensor

from spiritsafe.core.records import Message, Prompt, Sampling
from spiritsafe.models.decoder import head_product
from spiritsafe.models.interface.batch import IGNORED, pack_documents
from spiritsafe.models.interface.language_model import Head
from spiritsafe.models.running.engine import decode_state, sampler
from spiritsafe.models.running.generators import transformers_generator as fallback_generator
from spiritsafe.models.running.generators.local_generator import LocalGenerator
from spiritsafe.models.running.generators.transformers_generator import FallbackGenerator
from spiritsafe.models.transformers_backend.loading import load_model
from spiritsafe.reinforce.loss.policy_head import token_logprobs
from spiritsafe.training.chunked_head import ChunkLogits
from spiritsafe.training.head import cross_entropy_head

R, H, V = 37, 64, 301
MATMUL = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]


def pair(dtype: torch.dtype, *, rows: int = R) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states and a head whose logits reach 32, and their exact product."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(rows, H, generator=generator).to(dtype)
    weight = torch.randn(V, H, generator=generator).to(dtype)
    exact = hidden.double() @ weight.double().t()
    assert exact.abs().max() > 16
    return hidden, weight, exact


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rows", [1, 2, R, 300])
def test_a_half_precision_product_is_as_exact_as_float32(dtype: torch.dtype, rows: int) -> None:
    hidden, weight, exact = pair(dtype, rows=rows)
    found = head_product.head_product(hidden, weight)
    assert found.dtype == torch.float32
    assert float((found - exact).abs().max()) < 5e-5
    out = torch.full((rows, V), torch.nan)
    assert head_product.head_product(hidden, weight, out_RV=out) is out
    torch.testing.assert_close(out, found, rtol=0, atol=0)
    # what half precision gives by itself, for comparison
    assert float((torch.mm(hidden, weight.t()).double() - exact).abs().max()) > 1e-3


@pytest.mark.parametrize("size", [4, 4 * H, 4 * H * 10, 1 << 30])
def test_slices_change_nothing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, exact = pair(torch.bfloat16)
    monkeypatch.setattr(head_product, "SLICE_BYTES", size)
    assert float((head_product.head_product(hidden, weight) - exact).abs().max()) < 5e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whole_precision_is_the_plain_product_bit_for_bit(dtype: torch.dtype) -> None:
    hidden, weight, _ = pair(dtype)
    expected = torch.mm(hidden, weight.t())
    assert torch.equal(head_product.head_product(hidden, weight), expected)
    assert torch.equal(head_product.head_product(hidden, weight, out_RV=torch.empty(R, V, dtype=dtype)), expected)
    assert head_product.head_product(hidden, weight).dtype == dtype


def test_the_scale_is_applied_to_float32() -> None:
    hidden, weight, exact = pair(torch.bfloat16)
    head = Head(weight_VH=torch.nn.Parameter(weight), scale=0.3)
    assert float((head_product.head_logits(head, hidden) - 0.3 * exact).abs().max()) < 2e-5
    assert not head_product.head_logits(head, hidden).requires_grad


def test_float32_products_of_others_are_left_alone() -> None:
    """The processor's mode is set for a product of bfloat16s and for no other, and is put back whatever happens."""
    before = MATMUL.fp32_precision
    hidden, weight, _ = pair(torch.bfloat16)
    head_product.head_product(hidden, weight)
    assert MATMUL.fp32_precision == before
    with pytest.raises(RuntimeError):
        head_product.head_product(hidden, weight[:, 1:])
    assert MATMUL.fp32_precision == before


# ---- every place


def cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    ones = torch.ones(targets.shape[0])
    result = cross_entropy_head(hidden, weight, targets, ones, grad_weight_VH=None)
    return -result.cross_entropy / targets.shape[0]


def policy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return token_logprobs(hidden, weight, targets, scale=1.0).mean()


def chunks(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    logits = ChunkLogits(hidden, weight, most_rows=hidden.shape[0])(slice(0, hidden.shape[0]))
    return logits.log_softmax(1).gather(1, targets[:, None]).mean()


@pytest.mark.parametrize("head", [cross_entropy, policy, chunks])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_heads_see_exact_logits(head: Callable[[Tensor, Tensor, Tensor], Tensor], dtype: torch.dtype) -> None:
    hidden, weight, exact = pair(dtype)
    targets = torch.arange(R)
    expected = exact.log_softmax(1).gather(1, targets[:, None]).mean()
    assert float(head(hidden, weight, targets)) == pytest.approx(float(expected), rel=2e-6)


def is_rounded(logits: Tensor) -> bool:
    return torch.equal(logits.bfloat16().float(), logits)


PROMPTS = [Prompt(problem_id="p", messages=(Message(role="user", content="3+4"),), num_samples=3, seed=0)]


@pytest.mark.parametrize("architecture", ["decoder", "gpt2", "mixtral"])
def test_samplers_draw_from_unrounded_logits(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    def draw(logits_BV: Tensor, *more: Any, **others: Any) -> Any:
        seen.append(logits_BV.clone())
        return sampler.draw(logits_BV, *more, **others)

    for module in (decode_state, fallback_generator):
        monkeypatch.setattr(module, "draw", draw)
    if architecture == "decoder":
        loaded = tiny_student(tmp_path)
        loaded.model.to(torch.bfloat16)
        generators: list[Any] = [LocalGenerator(loaded, max_batch=4)]
    else:
        loaded = load_model(write_foreign(tmp_path / "foreign", architecture), dtype=torch.bfloat16)
        generators = [FallbackGenerator(loaded, max_batch=4), LocalGenerator(loaded, max_batch=4)]
    for generator in generators:
        seen.clear()
        attempts = list(generator.generate(PROMPTS, Sampling(max_tokens=4)))
        assert all(attempt.finish_reason != "error" for attempt in attempts)
        assert seen
        assert all(logits.dtype == torch.float32 and not is_rounded(logits) for logits in seen)


def test_scores_are_of_unrounded_logits(tmp_path: Path) -> None:
    loaded = tiny_student(tmp_path)
    loaded.model.to(torch.bfloat16)
    messages = PROMPTS[0].messages
    (found,) = LocalGenerator(loaded, max_batch=4).score([messages], ["7 or so"])
    batch = pack_documents([loaded.chat.document(messages, "7 or so")])
    rows = (batch.targets_N != IGNORED).nonzero().squeeze(1)
    with torch.no_grad():
        hidden = loaded.model(batch)[rows].double()
    exact = (hidden @ loaded.model.head().weight_VH.double().t()).log_softmax(1)
    exact = exact.gather(1, batch.targets_N[rows, None]).squeeze(1)
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), exact[: len(found)], rtol=0, atol=2e-5)


def test_a_foreign_head_is_left_as_it_was(tmp_path: Path) -> None:
    loaded = load_model(write_foreign(tmp_path / "gpt2", "gpt2"), dtype=torch.bfloat16)
    list(FallbackGenerator(loaded, max_batch=4).generate(PROMPTS, Sampling(max_tokens=2)))
    model: Any = loaded.model
    head = model.model.get_output_embeddings()
    assert "forward" not in vars(head)
    assert head(torch.zeros(1, head.weight.shape[1], dtype=torch.bfloat16)).dtype == torch.bfloat16
