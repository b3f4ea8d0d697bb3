"""Adapters on a GPU: captured steps see updates in place, and are captured anew when adapters come or go."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_training import tiny_decoder

from spiritsafe.core.records import Checkpoint, Message, Prompt, Sampling
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.decoder.head_product import head_logits
from spiritsafe.models.interface.batch import pack_documents
from spiritsafe.models.lora.adapters import add_lora, lora_state, merge_lora
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.running.generators.local_generator import LocalGenerator
from spiritsafe.models.sources.tiny import write_byte_tokenizer
from spiritsafe.models.transformers_backend.loading import LoadedModel

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def largest_gap(loaded: LoadedModel, generator: LocalGenerator) -> float:
    """Between the log-probabilities that the engine wrote down and those of the trainer's forward."""
    prompts = [
        Prompt(problem_id=text, messages=(Message(role="user", content=text),), num_samples=5)
        for text in ("one", "two and more", "three")
    ]
    worst = 0.0
    for attempt in generator.generate(prompts, Sampling(max_tokens=20)):
        messages = (Message(role="user", content=attempt.problem_id),)
        batch = pack_documents([loaded.chat.document_from_tokens(messages, attempt.token_ids)]).to("cuda")
        with torch.no_grad():
            rows = head_logits(loaded.model.head(), loaded.model(batch)).log_softmax(-1)
        expected = rows[attempt.num_prompt_tokens - 1 : -1].gather(
            1, torch.tensor(attempt.token_ids, device="cuda")[:, None]
        )
        worst = max(worst, (torch.tensor(attempt.logprobs, device="cuda") - expected.squeeze(1)).abs().max().item())
    return worst


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_engine_follows_adapters(dtype: torch.dtype, tmp_path: Path) -> None:
    write_byte_tokenizer(tmp_path, max_length=512)
    model = tiny_decoder(vocab=260, hidden=64, head_dim=16, max_position_embeddings=256).to("cuda", dtype)
    checkpoint = Checkpoint(name="x", digest="sha256:" + "0" * 64, license="MIT", num_parameters=1, weight_bytes=4)
    loaded = LoadedModel(model=model, chat=ChatFormat(tmp_path), checkpoint=checkpoint, directory=tmp_path)
    generator = LocalGenerator(loaded, max_batch=16)
    bound = 1e-3 if dtype == torch.float32 else 0.3
    assert largest_gap(loaded, generator) < bound
    add_lora(model, LoraConfig(rank=4))
    for seed in range(2):  # the second time the adapters change in place
        for index, tensor in enumerate(lora_state(model).values()):
            noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(97 * seed + index))
            tensor.copy_(0.3 * noise)
        assert largest_gap(loaded, generator) < bound
    if dtype == torch.float32:
        merge_lora(model)
        assert largest_gap(loaded, generator) < bound
