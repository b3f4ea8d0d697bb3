"""The Decoder on a GPU against transformers, and compiled against eager. Run ``pytest tests/gpu -m gpu``."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import Document, pack_documents

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("default"),  # torch's compiler warns of its own parts
]

SIZES: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 192,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": 1,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": True},
    "mistral": {"sliding_window": 40},
    "qwen2": {"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 1},
    "qwen3": {"head_dim": 64},
    "granite": {"attention_multiplier": 0.1, "logits_scaling": 2.0, "residual_multiplier": 0.5},
}
LENGTHS = (300, 7, 120, 290, 64)


def random_model(family: str, device: str) -> tuple[Decoder, torch.nn.Module]:
    """A Decoder and transformers' model of the same random weights, float32."""
    peer = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SIZES, **FAMILIES[family])).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in peer.named_parameters():
            noise = 0.1 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + noise if "norm" in name else noise)
    model = Decoder(DecoderConfig.from_hf(peer.config.to_dict()), device=device, seed=None)
    model.load_state_dict_hf(dict(peer.named_parameters()))
    return model, peer.to(device)


def random_documents(lengths: tuple[int, ...]) -> list[Document]:
    generator = torch.Generator().manual_seed(1)
    return [
        Document(
            token_ids=tuple(torch.randint(512, (length,), generator=generator).tolist()), supervised=(False,) * length
        )
        for length in lengths
    ]


def cosine(one: Tensor, two: Tensor) -> float:
    return torch.nn.functional.cosine_similarity(one.double().flatten(), two.double().flatten(), dim=0).item()


@pytest.mark.parametrize("family", FAMILIES)
def test_float32_logits_equal_transformers(family: str) -> None:
    model, peer = random_model(family, "cuda")
    documents = random_documents(LENGTHS)
    with torch.no_grad():
        ours = model.logits(model(pack_documents(documents).to("cuda")))
        theirs = torch.cat([peer(torch.tensor([d.token_ids], device="cuda")).logits[0] for d in documents])
    torch.testing.assert_close(ours, theirs, atol=5e-4, rtol=0)


@pytest.mark.parametrize("lengths", [LENGTHS, (128,) * 4], ids=["mixed", "equal"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_equal_the_cpus(family: str, lengths: tuple[int, ...]) -> None:
    on_gpu, _ = random_model(family, "cuda")
    on_cpu, _ = random_model(family, "cpu")
    batch = pack_documents(random_documents(lengths))
    on_gpu(batch.to("cuda")).square().mean().backward()
    on_cpu(batch).square().mean().backward()
    for (name, ours), theirs in zip(on_gpu.named_parameters(), on_cpu.parameters(), strict=True):
        if theirs.grad is None:
            assert ours.grad is None
            continue
        assert ours.grad is not None
        assert (ours.grad.cpu() - theirs.grad).abs().max() <= 1e-3 * theirs.grad.abs().max() + 1e-9, name


@pytest.mark.parametrize("family", FAMILIES)
def test_compiled_bfloat16_equals_eager(family: str) -> None:
    model, _ = random_model(family, "cuda")
    model.to(torch.bfloat16)
    batches = [pack_documents(random_documents(lengths)).to("cuda") for lengths in (LENGTHS, (128,) * 4, (50, 61))]
    eager = []
    for batch in batches:
        model.zero_grad()
        hidden = model(batch)
        hidden.float().square().mean().backward()
        eager.append((hidden.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    torch._dynamo.reset()
    model.compile_blocks()
    for batch, (hidden, grads) in zip(batches, eager, strict=True):
        model.zero_grad()
        found = model(batch)
        found.float().square().mean().backward()
        assert cosine(found.detach(), hidden) > 0.9995
        for parameter, grad in zip((p for p in model.parameters() if p.grad is not None), grads, strict=True):
            assert parameter.grad is not None
            assert cosine(parameter.grad, grad) > 0.99


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_shared_prefix_changes_nothing(family: str, dtype: torch.dtype) -> None:
    model, _ = random_model(family, "cuda")
    model.to(dtype)
    first = random_documents((90, 200, 64))
    documents = [
        Document(token_ids=first[0].token_ids[:50] + d.token_ids[50:], supervised=(False,) * len(d.token_ids))
        for d in first
    ]
    grads = []
    outputs = []
    for batch in (pack_documents(documents, prefix_length=50), pack_documents(documents)):
        model.zero_grad()
        hidden = model(batch.to("cuda")).float()
        keep = torch.ones(hidden.shape[0], dtype=torch.bool)
        if batch.prefix_length:
            keep[:50] = False
        else:
            for start in (0, 90, 290):
                keep[start : start + 50] = False
        hidden = hidden[keep.to(hidden.device)]
        hidden.square().mean().backward()
        outputs.append(hidden.detach())
        grads.append(torch.cat([block.qkv.weight.grad.flatten() for block in model.blocks]))
    if dtype == torch.float32:
        torch.testing.assert_close(outputs[0], outputs[1], atol=2e-4, rtol=0)
    assert cosine(outputs[0], outputs[1]) > 0.9995
    assert cosine(grads[0], grads[1]) > 0.995


def test_padding_and_groups_give_the_same_bits_twice() -> None:
    model, _ = random_model("llama", "cuda")
    batch = pack_documents(random_documents((600, 4, 580, 3, 590, 570))).to("cuda")
    grads = []
    for _ in range(2):
        model.zero_grad()
        model(batch).square().mean().backward()
        grads.append([block.qkv.weight.grad.clone() for block in model.blocks])
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-4)
