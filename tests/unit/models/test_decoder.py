from __future__ import annotations

from typing import Any

import pytest
import torch
from architectures import FAMILY_NAMES, decoder_of, packed, peer_of, random_config, random_documents
from torch._dynamo.testing import CompileCounter

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.batch import pack_documents, shared_prefix
from spiritsafe.models.decoder import Decoder
from spiritsafe.models.decoder_config import DecoderConfig
from spiritsafe.models.decoder_weights import make_hf_tensors

LENGTHS = (3, 40, 17, 1, 9)


def gradients(model: Decoder) -> dict[str, torch.Tensor]:
    """Gradients under Hugging Face's names."""
    stand_in = Decoder(model.config, seed=None)
    with torch.no_grad():
        for mine, theirs in zip(stand_in.parameters(), model.parameters(), strict=True):
            mine.copy_(theirs.grad if theirs.grad is not None else torch.zeros_like(theirs))
    return make_hf_tensors(stand_in, model.config)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_logits_and_gradients_equal_transformers(family: str, seed: int) -> None:
    peer = peer_of(random_config(family, seed), seed)
    model = decoder_of(peer)
    documents = random_documents(LENGTHS, model.vocab_size, seed)
    ours = model.logits(model(pack_documents(documents)))
    theirs = torch.cat([peer(torch.tensor([d.token_ids])).logits[0] for d in documents])
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(seed))
    (ours * weight).sum().backward()
    (theirs * weight).sum().backward()
    found = gradients(model)
    expected = {name: parameter.grad for name, parameter in peer.named_parameters()}
    assert found.keys() == expected.keys()
    for name, grad in expected.items():
        assert (found[name] - grad).abs().max() <= 1e-4 * grad.abs().max(), name


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_packed_documents_equal_each_alone(family: str) -> None:
    model = decoder_of(peer_of(random_config(family, 1)))
    documents = random_documents(LENGTHS, model.vocab_size)
    together = model(pack_documents(documents))
    alone = torch.cat([model(pack_documents([document])) for document in documents])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_shared_prefix_changes_nothing(family: str) -> None:
    model = decoder_of(peer_of(random_config(family, 1)))
    first = random_documents((12, 20, 9), model.vocab_size)
    documents = [
        type(d)(token_ids=first[0].token_ids[:6] + d.token_ids[6:], supervised=(False,) * 7 + d.supervised[7:])
        for d in first
    ]
    assert shared_prefix(documents) == 6
    shared = model(pack_documents(documents, prefix_length=6))
    expected = [model(pack_documents([document])) for document in documents]
    torch.testing.assert_close(shared[:6], expected[0][:6], atol=1e-5, rtol=0)
    torch.testing.assert_close(shared[6:], torch.cat([e[6:] for e in expected]), atol=1e-5, rtol=0)


def test_activation_checkpointing_changes_no_gradient() -> None:
    model = Decoder(DecoderConfig.from_hf(random_config("llama", 0)))
    batch = packed(LENGTHS, model.vocab_size)
    model(batch).square().sum().backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    model.activation_checkpointing = True
    model(batch).square().sum().backward()
    for found, wanted in zip((p.grad for p in model.parameters() if p.grad is not None), expected, strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's tracer looks at it
def test_one_compilation_serves_all_layers_and_shapes() -> None:
    model = Decoder(DecoderConfig.from_hf(random_config("qwen3", 1) | {"num_hidden_layers": 6}))
    batches = [packed(lengths, model.vocab_size) for lengths in ((5, 9, 9), (7, 7, 3, 2), (4,) * 5, (11, 2))]
    expected = [model(batch) for batch in batches]
    torch._dynamo.reset()
    counter = CompileCounter()
    model.compile_blocks(backend=counter)
    for batch, wanted in zip(batches, expected, strict=True):
        torch.testing.assert_close(model(batch), wanted)
    # two functions, each once for the first shape and once for any shape
    assert counter.frame_count <= 4
    torch._dynamo.reset()


def test_too_long_a_document_is_refused() -> None:
    model = Decoder(DecoderConfig.from_hf(random_config("llama", 0) | {"max_position_embeddings": 8}))
    with pytest.raises(CompatibilityError, match="context of 8"):
        model(packed((3, 9), model.vocab_size))


@pytest.mark.parametrize("tied", [True, False])
def test_head_is_the_parameter_itself(tied: bool) -> None:
    config: dict[str, Any] = random_config("granite", 0) | {"tie_word_embeddings": tied}
    model = Decoder(DecoderConfig.from_hf(config))
    head = model.head()
    assert head.scale == pytest.approx(1 / 2.5)
    assert head.weight_VH is (model.embedding.weight if model.lm_head is None else model.lm_head.weight)
    assert (model.lm_head is None) == tied


def test_the_seed_decides_the_weights() -> None:
    config = DecoderConfig.from_hf(random_config("qwen2", 0))
    one, same, other = Decoder(config, seed=5), Decoder(config, seed=5), Decoder(config, seed=6)
    assert torch.equal(one.embedding.weight, same.embedding.weight)
    assert not torch.equal(one.embedding.weight, other.embedding.weight)
    assert one.blocks[0].qkv.bias.abs().max() == 0
    assert one.norm.weight.min() == 1


def test_moving_to_bfloat16_does_not_round_positions() -> None:
    model = Decoder(DecoderConfig.from_hf(random_config("llama", 0)), dtype=torch.bfloat16)
    cos, _ = model.rope_tables(50)
    exact, _ = Decoder(model.config).rope_tables(50)
    assert cos.dtype == torch.bfloat16
    assert torch.equal(cos, exact.to(torch.bfloat16))
    assert model(packed((4, 6), model.vocab_size)).dtype == torch.bfloat16
