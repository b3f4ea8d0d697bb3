from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import FAMILY_NAMES, decoder_of, loaded_decoder, peer_of, random_config

from spiritsafe.core.records import Message, Prompt, Sampling
from spiritsafe.models.decoder.cpu import threads
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.lora.adapters import add_lora
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.running.engine.cached_runner import CachedRunner
from spiritsafe.models.running.engine.decode_state import Admission
from spiritsafe.models.running.generators.local_generator import LocalGenerator

TOKENS = tuple(3 + 7 * n % 80 for n in range(40))


def step_logits(model: Decoder, *, width: int = 1) -> torch.Tensor:
    """Of the tokens behind the first 20 in one slot and the first 4 in another, ``width`` at a time: ``[steps, V]``."""
    runner = CachedRunner(model)
    found = []
    with torch.inference_mode():
        runner.begin(2, len(TOKENS))
        assert (runner._fused is not None) == threads.can_loop()
        starts = (20, 4)
        runner.admit([Admission(slot, TOKENS[:start], seed=slot) for slot, start in enumerate(starts)])
        for step in range(0, 20, width):
            ids = [TOKENS[start - 1 + step : start - 1 + step + width] for start in starts]
            runner.state.positions_B[:2] = torch.tensor([start - 1 + step for start in starts])
            live = tuple(runner._live(start + step + width) for start in starts)
            found.append(runner._logits_of(torch.tensor(ids), live).view(2, width, -1).transpose(0, 1).flatten(0, 1))
        runner.end()
    return torch.cat(found)


def plain_logits(model: Decoder, monkeypatch: pytest.MonkeyPatch, *, width: int = 1) -> torch.Tensor:
    with monkeypatch.context() as patch:
        patch.setattr(threads, "has_numba", lambda: False)
        return step_logits(model, width=width)


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_steps_of_every_family_are_those_of_the_modules_operations_and_of_transformers(
    family: str, seed: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grouped heads, windows, norms of heads, biases, multipliers of streams, every kind of rotation; drafts too."""
    peer = peer_of(random_config(family, seed))
    model = decoder_of(peer)
    found = step_logits(model, width=width)
    assert (found - plain_logits(model, monkeypatch, width=width)).abs().max() < 2e-4
    with torch.inference_mode():
        theirs = peer(torch.tensor([TOKENS])).logits[0]
    assert (found.view(20, 2, -1)[:, 0] - theirs[19:39]).abs().max() < 1e-3


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_bfloat16_rounds_where_the_modules_operations_round(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = decoder_of(peer_of(random_config(family, 2)))
    exact = step_logits(model)
    found, plain = step_logits(model.to(torch.bfloat16)), plain_logits(model, monkeypatch)
    assert CachedRunner(model).cache.data.dtype == torch.bfloat16, "which holds every key that there is"
    assert (found - plain).square().mean() < 0.3 * (plain - exact).square().mean()


def test_adapters_are_part_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    model = decoder_of(peer_of(random_config("llama", 0)))
    without = step_logits(model)
    add_lora(model, LoraConfig(rank=3, alpha=8.0))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    found = step_logits(model)
    assert (found - without).abs().max() > 0.1
    assert (found - plain_logits(model, monkeypatch)).abs().max() < 2e-4


def test_weights_that_training_changed_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model = decoder_of(peer_of(random_config("qwen3", 1)))
    runner = CachedRunner(model)

    def logits() -> torch.Tensor:
        with torch.inference_mode():
            runner.begin(1, 32)
            runner.admit([Admission(0, TOKENS[:5], seed=0)])
            found = runner._logits_of(torch.tensor([[TOKENS[5]]]), (16,))
            runner.end()
        return found

    before = logits()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.mul_(1.3)
    after = logits()
    assert (after - before).abs().max() > 0.01
    monkeypatch.setattr(threads, "has_numba", lambda: False)
    runner = CachedRunner(model)
    assert (after - logits()).abs().max() < 2e-4


def test_without_numba_the_modules_operations_answer(tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = loaded_decoder(tiny_directory)
    prompts = [Prompt(problem_id="a", messages=(Message(role="user", content="what is it"),))]

    def texts() -> list[Any]:
        return [one.token_ids for one in LocalGenerator(loaded).generate(prompts, Sampling(max_tokens=20))]

    with_kernels = texts()
    threads.has_numba.cache_clear()

    def fails(name: str) -> Any:
        raise ImportError("Numba needs NumPy 2.4 or less")

    monkeypatch.setattr(threads.importlib, "import_module", fails)
    try:
        assert not threads.can_loop()
        assert texts() == with_kernels
    finally:
        monkeypatch.undo()
        threads.has_numba.cache_clear()


@pytest.mark.parametrize("where", ["cache", "weights"])
def test_numbers_that_are_none_are_not_hidden(where: str) -> None:
    """A model that has diverged must not answer: the session reports its logits as broken."""
    model = decoder_of(peer_of(random_config("llama", 0)))
    runner = CachedRunner(model)
    with torch.inference_mode():
        runner.begin(1, 32)
        runner.admit([Admission(0, TOKENS[:5], seed=0)])
        if where == "cache":
            runner.cache.data[0, 0, 0, 0, 2, 0] = float("nan")
        else:
            model.blocks[0].qkv.packed = None
            model.blocks[0].qkv.weight.fill_(float("inf"))
            runner._renew()
        runner.advance([4], 1)
        assert runner.state.read(1, 1)[0].broken
        runner.end()


def test_nothing_is_written_beyond_the_cache() -> None:
    model = decoder_of(peer_of(random_config("llama", 0)))
    runner = CachedRunner(model)
    with torch.inference_mode():
        runner.begin(1, 16)
        runner.admit([Admission(0, TOKENS[:5], seed=0)])
        runner.state.positions_B[0] = runner.cache.num_positions
        with pytest.raises(IndexError, match="position"):
            runner.advance([4], 1)
