from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from architectures import FAMILY_NAMES, decoder_of, packed, peer_of, random_config, random_documents
from torch._dynamo.testing import CompileCounter

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.module import Decoder, PackableLinear
from spiritsafe.models.decoder.weight_names import make_hf_tensors
from spiritsafe.models.interface.batch import pack_documents, shared_prefix

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


def streams_of(peer: Any, token_ids: tuple[int, ...]) -> list[torch.Tensor]:
    """transformers' streams after each layer; the last of its hidden states has been through the final norm."""
    handed: list[torch.Tensor] = []
    handle = peer.model.norm.register_forward_pre_hook(lambda module, inputs: handed.append(inputs[0][0]))
    found = peer(torch.tensor([token_ids]), output_hidden_states=True).hidden_states
    handle.remove()
    return [*(stream[0] for stream in found[1:-1]), handed[0]]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_streams_after_chosen_layers_equal_transformers(family: str, seed: int) -> None:
    peer = peer_of(random_config(family, seed) | {"num_hidden_layers": 4}, seed)
    model = decoder_of(peer)
    documents = random_documents(LENGTHS, model.vocab_size, seed)
    batch = pack_documents(documents)
    expected = [streams_of(peer, document.token_ids) for document in documents]
    with torch.no_grad():
        hidden_NH, found = model.forward_with_layers(batch, (2, 0, 3))
        assert torch.equal(hidden_NH, model(batch))
    for layer, stream in zip((2, 0, 3), found, strict=True):
        wanted = torch.cat([streams[layer] for streams in expected])
        assert (stream - wanted).abs().max() <= 1e-5 * wanted.abs().max().clamp_min(1.0)


def test_streams_of_documents_that_share_a_prefix_equal_those_of_each_alone() -> None:
    model = decoder_of(peer_of(random_config("qwen3", 1)))
    first = random_documents((12, 20, 9), model.vocab_size)
    documents = [
        type(d)(token_ids=first[0].token_ids[:6] + d.token_ids[6:], supervised=(False,) * 7 + d.supervised[7:])
        for d in first
    ]
    (shared,) = model.forward_with_layers(pack_documents(documents, prefix_length=6), (0,))[1]
    alone = [model.forward_with_layers(pack_documents([document]), (0,))[1][0] for document in documents]
    torch.testing.assert_close(shared, torch.cat([alone[0][:6], *(stream[6:] for stream in alone)]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("layers", [(2,), (0, -1), (0, 7)])
def test_layers_that_are_not_there_are_refused(layers: tuple[int, ...]) -> None:
    model = Decoder(DecoderConfig.from_hf(random_config("llama", 0) | {"num_hidden_layers": 2}))
    with pytest.raises(CompatibilityError, match="layers 0 to 1"):
        model.forward_with_layers(packed(LENGTHS, model.vocab_size), layers)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_of_a_stream_reach_its_layer_and_those_below_only(checkpointing: bool) -> None:
    model = Decoder(DecoderConfig.from_hf(random_config("llama", 0) | {"num_hidden_layers": 3}))
    model.activation_checkpointing = checkpointing
    (stream,) = model.forward_with_layers(packed(LENGTHS, model.vocab_size), (1,))[1]
    stream.square().sum().backward()
    assert model.embedding.weight.grad is not None
    for index, block in enumerate(model.blocks):
        gradients_there = [parameter.grad is not None for parameter in block.parameters()]
        assert set(gradients_there) == {index <= 1}


@pytest.mark.parametrize("layers", [(), (1,), (4, 1)])
def test_streams_that_nobody_asked_for_do_not_stay_in_memory(layers: tuple[int, ...]) -> None:
    model = Decoder(DecoderConfig.from_hf(random_config("llama", 0) | {"num_hidden_layers": 6}))
    seen: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def watch(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal most
        seen.append(weakref.ref(output))
        most = max(most, sum(stream() is not None for stream in seen))

    handles = [block.register_forward_hook(watch) for block in model.blocks]
    with torch.no_grad():
        _, streams = model.forward_with_layers(packed(LENGTHS, model.vocab_size), layers)
    for handle in handles:
        handle.remove()
    assert len(streams) == len(layers)
    assert [index for index, stream in enumerate(seen) if stream() is not None] == sorted(layers)
    # While it runs: those asked for, the one that enters a block and the one that leaves it.
    assert most <= len(layers) + 2


@pytest.mark.parametrize("checkpointing", [False, True])
def test_long_documents_under_a_window_equal_transformers(checkpointing: bool) -> None:
    config = random_config("mistral", 0) | {"sliding_window": 40, "max_position_embeddings": 1024}
    peer = peer_of(config, 0)
    model = decoder_of(peer)
    model.activation_checkpointing = checkpointing
    documents = random_documents((700, 300), model.vocab_size, 0)
    ours = model.logits(model(pack_documents(documents)))
    theirs = torch.cat([peer(torch.tensor([d.token_ids])).logits[0] for d in documents])
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(0))
    (ours * weight).sum().backward()
    (theirs * weight).sum().backward()
    found = gradients(model)
    for name, parameter in peer.named_parameters():
        assert parameter.grad is not None
        assert (found[name] - parameter.grad).abs().max() <= 1e-4 * parameter.grad.abs().max(), name


def test_half_precision_on_a_cpu_meets_few_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = decoder_of(peer_of(random_config("qwen2", 1))).to(torch.bfloat16)
    sizes: set[int] = set()
    multiply = PackableLinear.forward

    def seen(self: PackableLinear, rows: torch.Tensor) -> torch.Tensor:
        sizes.add(rows.shape[0])
        return multiply(self, rows)

    monkeypatch.setattr(PackableLinear, "forward", seen)
    for last in range(1, 33):
        documents = random_documents((12, 20, last), model.vocab_size, last)
        hidden, layers = model.forward_with_layers(pack_documents(documents), (0,))
        assert hidden.shape[0] == layers[0].shape[0] == 32 + last
    assert sizes == {48, 64}


def test_a_filled_batch_says_what_the_batch_says() -> None:
    model = decoder_of(peer_of(random_config("qwen2", 1)))
    half = Decoder(model.config, dtype=torch.bfloat16, seed=None)
    half.load_state_dict(model.state_dict())
    documents = random_documents((12, 20, 9), model.vocab_size)
    shared = [replace(d, token_ids=(1, 2, 3, *d.token_ids), supervised=(False,) * 3 + d.supervised) for d in documents]
    for batch in (pack_documents(documents), pack_documents(shared, prefix_length=3)):
        wide, narrow = model(batch), half(batch)
        assert (wide - narrow).abs().max() < 0.05 * wide.abs().max()
        assert narrow.shape == wide.shape
