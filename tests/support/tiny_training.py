"""What tests of training and distilling share: a 2-layer Decoder and documents that can be learnt."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import Document

VOCAB = 61


def tiny_decoder(
    *,
    seed: int = 0,
    vocab: int = VOCAB,
    hidden: int = 32,
    layers: int = 2,
    dtype: torch.dtype = torch.float32,
    **more: Any,
) -> Decoder:
    """A random Llama (Granite, if ``logits_scaling`` is given) of two layers."""
    config = {
        "model_type": "granite" if "logits_scaling" in more else "llama",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "vocab_size": vocab,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        "initializer_range": 0.2,
        **more,
    }
    return Decoder(DecoderConfig.from_hf(config), seed=seed, dtype=dtype)


def counting_documents(count: int, *, seed: int = 0, shortest: int = 6, longest: int = 24) -> list[Document]:
    """Prompt: a start and a stride; completion: the start plus multiples of the stride, modulo the vocabulary."""
    rng = random.Random(seed)
    documents = []
    for _ in range(count):
        length, start, stride = rng.randint(shortest, longest), rng.randrange(VOCAB), rng.randrange(1, 4)
        tokens = [stride, *((start + stride * step) % VOCAB for step in range(length - 1))]
        documents.append(
            Document(token_ids=tuple(tokens), supervised=(False, False, *(True for _ in range(length - 2))))
        )
    return documents


class OperatorLog(TorchDispatchMode):
    """Counts matrix products and remembers the largest tensor any operator made."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[str] = []
        self.largest_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ("mm", "addmm", "addmm_", "bmm", "matmul", "baddbmm", "dot", "mv"):
            first = args[1] if name.startswith("addmm") else args[0]
            if first.dim() == 2:
                self.products.append(name)
        for tensor in out if isinstance(out, list | tuple) else [out]:
            if isinstance(tensor, Tensor):
                self.largest_bytes = max(self.largest_bytes, tensor.untyped_storage().nbytes())
        return out


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
