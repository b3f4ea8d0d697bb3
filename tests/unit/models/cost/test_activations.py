from __future__ import annotations

from typing import Any

import pytest
import torch

from spiritsafe.models.cost.training_memory import predict_training
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import Document, pack_documents
from spiritsafe.models.lora.adapters import add_lora
from spiritsafe.models.lora.config import LoraConfig

SMALL: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}


def kept_by_autograd(model: Decoder, lengths: tuple[int, ...]) -> int:
    """Bytes that one forward pass keeps for its backward pass, and its result."""
    batch = pack_documents([Document(token_ids=(5,) * n, supervised=(True,) * n) for n in lengths])
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden_NH = model(batch)
    return sum(storage.nbytes() for storage in kept.values()) + hidden_NH.nbytes


@pytest.mark.parametrize("lengths", [(40, 40, 40), (50, 20, 33, 17)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize("lora", [None, LoraConfig(rank=4), LoraConfig(rank=4, targets=("q", "v", "down"))])
def test_activations_are_what_autograd_keeps(
    lora: LoraConfig | None, family: str, dtype: torch.dtype, lengths: tuple[int, ...]
) -> None:
    config = SMALL | {"model_type": family}
    model = Decoder(DecoderConfig.from_hf(config), dtype=dtype)
    if lora is not None:
        add_lora(model, lora)
    measured = kept_by_autograd(model, lengths)
    predicted = predict_training(
        config,
        num_tokens=sum(lengths),
        lengths=lengths,
        compute_dtype="fp32" if dtype == torch.float32 else "bf16",
        lora=lora,
    ).activation_bytes
    assert predicted == pytest.approx(measured, rel=0.02)


@pytest.mark.parametrize("lengths", [(700,), (700, 700), (700, 300, 20)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [40, 300, 699])
def test_windows_keep_what_is_counted(window: int, dtype: torch.dtype, lengths: tuple[int, ...]) -> None:
    config = SMALL | {"model_type": "mistral", "sliding_window": window}
    measured = kept_by_autograd(Decoder(DecoderConfig.from_hf(config), dtype=dtype), lengths)
    predicted = predict_training(
        config, num_tokens=sum(lengths), lengths=lengths, compute_dtype="fp32" if dtype == torch.float32 else "bf16"
    ).activation_bytes
    assert predicted == pytest.approx(measured, rel=0.08)  # masks of first and last blocks are seen in a small model


def test_a_window_is_counted_as_the_length_and_not_as_its_square() -> None:
    config = SMALL | {"model_type": "mistral", "sliding_window": 64}
    short, long = (
        predict_training(config, num_tokens=n, lengths=(n,), compute_dtype="fp32").activation_bytes
        for n in (2048, 8192)
    )
    assert 3.9 * short < long < 4.2 * short
