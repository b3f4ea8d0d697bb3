"""Adapters of a Decoder against weights summed by hand, in transformers and in a second Decoder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import FAMILY_NAMES, decoder_of, loaded_decoder, packed, peer_of, random_config, random_documents
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Attempt, Message, Prompt, Sampling
from spiritsafe.models.decoder.cpu.packing import can_pack
from spiritsafe.models.decoder.head_product import head_logits
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import Document, pack_documents, shared_prefix
from spiritsafe.models.interface.language_model import LanguageModel
from spiritsafe.models.lora.adapters import (
    LoraBase,
    add_lora,
    lora_config,
    lora_state,
    merge_lora,
    num_trainable,
    without_lora,
)
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.lora.decoder_adapters import lora_shapes, num_lora_parameters
from spiritsafe.models.running.engine.cached_runner import CachedRunner
from spiritsafe.models.running.engine.cuda_graphs import StepGraphs
from spiritsafe.models.running.generators.local_generator import LocalGenerator
from spiritsafe.models.transformers_backend.loading import LoadedModel
from spiritsafe.models.transformers_backend.projections import LORA_TARGETS, LoraTarget

LENGTHS = (7, 12, 3)
CONFIG = LoraConfig(rank=3, alpha=5.0)


def learnt(model: Decoder, config: LoraConfig = CONFIG, seed: int = 9) -> Decoder:
    """Adapters whose second maps are no longer zero."""
    add_lora(model, config)
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in lora_state(model).items():
        if "lora_B" in name:
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    return model


def as_decoder(model: LanguageModel) -> Decoder:
    assert isinstance(model, Decoder)
    return model


def summed(config: dict[str, Any], seed: int, state: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """The peer's weights plus scale · B·A, by Hugging Face's names."""
    weights = {name: tensor.clone() for name, tensor in peer_of(config, seed).state_dict().items()}
    for name, first in state.items():
        if name.endswith("lora_A.weight"):
            second = state[name.replace("lora_A", "lora_B")]
            path = name.removeprefix("base_model.model.").replace(".lora_A", "")
            weights[path] += scale * (second.double() @ first.double()).float()
    return weights


@pytest.mark.parametrize("targets", [LORA_TARGETS, ("k", "up"), ("q", "v"), ("o", "down")], ids="-".join)
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_logits_are_transformers_with_the_summed_weights(family: str, targets: tuple[LoraTarget, ...]) -> None:
    config = random_config(family, 2)
    model = learnt(decoder_of(peer_of(config, 2)), LoraConfig(rank=3, alpha=5.0, targets=targets))
    peer = peer_of(config, 2)
    before = model.logits(model(packed(LENGTHS, model.vocab_size)))
    peer.load_state_dict(summed(config, 2, lora_state(model), 5.0 / 3.0))
    start = 0
    for document in random_documents(LENGTHS, model.vocab_size):
        with torch.no_grad():
            expected = peer(torch.tensor([document.token_ids])).logits[0]
        torch.testing.assert_close(before[start : start + expected.shape[0]], expected, rtol=0, atol=1e-4)
        start += expected.shape[0]
    plain = decoder_of(peer_of(config, 2))
    assert (before - plain.logits(plain(packed(LENGTHS, model.vocab_size)))).abs().max() > 0.1


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_gradients_follow_from_those_of_the_summed_weights(family: str, checkpointing: bool) -> None:
    config = random_config(family, 3)
    model = learnt(decoder_of(peer_of(config, 3)))
    model.activation_checkpointing = checkpointing
    whole = decoder_of(peer_of(config, 3))
    whole.load_state_dict_hf(
        {k: v for k, v in summed(config, 3, lora_state(model), 5.0 / 3.0).items() if k in whole.hf_state_dict()}
    )
    batch = packed(LENGTHS, model.vocab_size)
    direction = torch.randn(sum(LENGTHS), model.hidden_size)
    for one in (model, whole):
        (one(batch) * direction).sum().backward()
    for parameter in whole.parameters():
        gradient = parameter.grad  # of an untied head there is none: the loss is one of hidden states
        parameter.data = torch.zeros_like(parameter) if gradient is None else gradient
    of_weights = whole.hf_state_dict()
    assert all((p.grad is not None) == p.requires_grad == ("lora" in name) for name, p in model.named_parameters())
    maps = lora_state(model)
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.data = parameter.grad  # so that lora_state shows gradients
    for name, found in lora_state(model).items():
        weight = of_weights[name.removeprefix("base_model.model.").rpartition(".lora_")[0] + ".weight"]
        if "lora_A" in name:  # dL/dA = s · Bᵀ · dL/dW
            expected = 5.0 / 3.0 * maps[name.replace("lora_A", "lora_B")].t() @ weight
        else:  # dL/dB = s · dL/dW · Aᵀ
            expected = 5.0 / 3.0 * weight @ maps[name.replace("lora_B", "lora_A")].t()
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_fresh_adapters_change_nothing_and_are_drawn_as_peft_draws() -> None:
    config = random_config("llama", 1)
    plain, model, same, other = (decoder_of(peer_of(config, 1)) for _ in range(4))
    batch = packed(LENGTHS, plain.vocab_size)
    for one, seed in ((model, 4), (same, 4), (other, 5)):
        add_lora(one, LoraConfig(rank=64, seed=seed))
    assert torch.equal(model(batch), plain(batch))
    state = lora_state(model)
    for name, tensor in state.items():
        if "lora_B" in name:
            assert not tensor.any()
            continue
        bound = tensor.shape[1] ** -0.5  # kaiming_uniform_(a=√5): gain √(1/3) times √(3/width)
        assert 0.9 * bound < tensor.abs().max() <= bound
        assert tensor.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
        assert torch.equal(tensor, lora_state(same)[name])
        assert not torch.equal(tensor, lora_state(other)[name])
    firsts = [tensor.flatten()[:8].tolist() for name, tensor in state.items() if "lora_A" in name]
    assert len({tuple(first) for first in firsts}) == len(firsts)  # no two are the same


def test_sizes_are_known_before_any_adapter_is_made() -> None:
    config = LoraConfig(rank=5, targets=("q", "down"))
    model = decoder_of(peer_of(random_config("qwen3", 0)))
    shapes = lora_shapes(model.config, config)
    add_lora(model, config)
    assert shapes == {name: tuple(tensor.shape) for name, tensor in lora_state(model).items()}
    assert num_trainable(model) == num_lora_parameters(model.config, config)
    c = model.config
    by_hand = 5 * (c.hidden_size + c.num_heads * c.head_dim) + 5 * (c.intermediate_size + c.hidden_size)
    assert num_trainable(model) == c.num_layers * by_hand
    assert lora_config(model) == config


def test_a_shared_prefix_changes_nothing() -> None:
    model = learnt(decoder_of(peer_of(random_config("llama", 1))))
    documents = [
        Document(token_ids=(9, 8, 7, 6, *d.token_ids), supervised=(False, False, False, False, *d.supervised))
        for d in random_documents((4, 6), model.vocab_size)
    ]
    assert shared_prefix(documents) == 4
    whole, shared = pack_documents(documents), pack_documents(documents, prefix_length=4)
    gradients = []
    for batch, rows in ((whole, [*range(4, 8), *range(12, 18)]), (shared, [*range(4, 14)])):
        hidden_NH = model(batch)[rows]
        hidden_NH.square().sum().backward()
        gradients.append([hidden_NH, *(p.grad for p in model.parameters() if p.grad is not None)])
        model.zero_grad(set_to_none=True)
    assert len(gradients[0]) == 1 + 2 * 4 * model.num_layers
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("default")  # torch's compiler warns of its own parts
def test_compiled_blocks_run_adapters_too() -> None:
    model, compiled = (learnt(decoder_of(peer_of(random_config("llama", 1)))) for _ in range(2))
    batch = packed(LENGTHS, model.vocab_size)
    compiled.compile_blocks(backend="aot_eager")
    for one in (model, compiled):
        one(batch).square().sum().backward()
    for mine, theirs in zip(compiled.parameters(), model.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None)
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4)
    torch._dynamo.reset()


# ---- sampling


def prompts() -> list[Prompt]:
    return [
        Prompt(problem_id=text, messages=(Message(role="user", content=text),), num_samples=3)
        for text in ("one", "two and more", "three")
    ]


def largest_gap(loaded: LoadedModel, attempts: Iterable[Attempt]) -> float:
    """Between the log-probabilities that the engine wrote down and those of the trainer's forward."""
    worst = 0.0
    for attempt in attempts:
        messages = (Message(role="user", content=attempt.problem_id),)
        document = loaded.chat.document_from_tokens(messages, attempt.token_ids)
        with torch.no_grad():
            logprobs = head_logits(loaded.model.head(), loaded.model(pack_documents([document]))).log_softmax(-1)
        rows = logprobs[attempt.num_prompt_tokens - 1 : -1]
        expected = rows.gather(1, torch.tensor(attempt.token_ids)[:, None]).squeeze(1)
        worst = max(worst, (torch.tensor(attempt.logprobs) - expected).abs().max().item())
    return worst


@pytest.mark.parametrize("pack_limit", [0, 2 << 30])
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_the_samplers_logprobs_are_the_trainers(
    family: str, pack_limit: int, tiny_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spiritsafe.models.running.engine.cached_runner.PACK_LIMIT_BYTES", pack_limit)
    loaded = loaded_decoder(tiny_directory, family)
    model = learnt(as_decoder(loaded.model))
    generator = LocalGenerator(loaded, max_batch=5)
    seen = []
    for _ in range(2):
        attempts = list(generator.generate(prompts(), Sampling(max_tokens=10)))
        assert largest_gap(loaded, attempts) < 1e-4
        seen.append(sorted(attempt.token_ids for attempt in attempts))
        for name, tensor in lora_state(model).items():  # the same generator after an update
            if "lora_B" in name:
                tensor.neg_()
    assert seen[0] != seen[1]


def test_in_bfloat16_sampler_and_trainer_round_alike(tiny_directory: Path) -> None:
    # Low-rank rows in one precision here and another there would be a gap of several nats under such adapters.
    loaded = loaded_decoder(tiny_directory)
    model = learnt(as_decoder(loaded.model), LoraConfig(rank=4))
    for tensor in lora_state(model).values():
        tensor.mul_(3.0)
    model.to(torch.bfloat16)
    assert largest_gap(loaded, LocalGenerator(loaded).generate(prompts(), Sampling(max_tokens=20))) < 0.1


def test_bfloat16_samples_what_adapters_add_to_a_weight_that_would_swallow_it(tiny_directory: Path) -> None:
    # Each entry of s·B·A is far below half of bfloat16's resolution at 1.0, all of them together are not.
    model = as_decoder(loaded_decoder(tiny_directory).model).to(torch.bfloat16)
    add_lora(model, LoraConfig(rank=1, alpha=1.0, targets=("down",)))
    projection = model.blocks[0].down
    assert projection.lora is not None
    projection.weight.data.fill_(1.0)
    projection.lora.a_QI.data.fill_(1.0)
    projection.lora.b_PR.data.fill_(2.0**-11)
    assert torch.equal(projection.lora.merged(projection.weight), projection.weight)
    rows = torch.zeros(7, projection.in_features, dtype=torch.bfloat16)
    rows[:, :2] = torch.tensor([4096.0, -4096.0])
    rows[:, 2] = 16.0
    projection.lora.a_QI.data[0, 1] = -1.0
    if not can_pack(projection.weight):
        pytest.skip("this processor packs no bfloat16")
    projection.pack(torch.bfloat16)
    projection.pack_few()
    for count in (3, 7):
        with torch.inference_mode():
            found = projection(rows[:count])
        assert found.tolist() == [[16.0 + 4.0] * projection.out_features] * count  # 16 + 8192 / 2048


def test_captured_steps_are_forgotten_when_adapters_come_or_go(tiny_directory: Path) -> None:
    model = as_decoder(loaded_decoder(tiny_directory).model)
    runner = CachedRunner(model)
    runner._graphs = StepGraphs(runner._graph_step, runner.state.tensors())
    runner._renew_graphs()
    first = runner._graphs
    runner._renew_graphs()
    assert runner._graphs is first
    learnt(model)
    runner._renew_graphs()
    assert runner._graphs is not first
    second = runner._graphs
    for tensor in lora_state(model).values():
        tensor.mul_(2.0)
    runner._renew_graphs()
    assert runner._graphs is second
    merge_lora(model)
    runner._renew_graphs()
    assert runner._graphs is not second


# ---- merging, removing, looking past


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_merging_folds_the_adapters_into_plain_weights(family: str) -> None:
    config = random_config(family, 4)
    model = learnt(decoder_of(peer_of(config, 4)))
    batch = packed(LENGTHS, model.vocab_size)
    adapted, state = model(batch), lora_state(model)
    merge_lora(model)
    torch.testing.assert_close(model(batch), adapted, rtol=1e-4, atol=1e-4)
    expected = summed(config, 4, state, 5.0 / 3.0)
    for name, tensor in model.hf_state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-6)
    assert lora_config(model) is None
    assert lora_state(model) == {}
    assert all(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(CompatibilityError, match="no adapters"):
        merge_lora(model)


def test_half_precision_weights_are_not_merged_into() -> None:
    model = decoder_of(peer_of(random_config("llama", 1))).to(torch.bfloat16)
    learnt(model)
    with pytest.raises(CompatibilityError, match="bfloat16") as error:
        merge_lora(model)
    assert "float32" in error.value.hint
    assert lora_config(model) == CONFIG
    merge_lora(model.to(torch.float32))
    assert lora_config(model) is None


def test_the_base_stays_reachable() -> None:
    plain, model = (decoder_of(peer_of(random_config("llama", 1))) for _ in range(2))
    batch = packed(LENGTHS, model.vocab_size)
    with pytest.raises(CompatibilityError, match="no adapters"):
        LoraBase(model)
    learnt(model)
    base = LoraBase(model)
    expected, (stream,) = plain.forward_with_layers(batch, (0,))
    found, (other,) = base.forward_with_layers(batch, (0,))
    assert torch.equal(found, expected)
    assert torch.equal(other, stream)
    assert torch.equal(base(batch), expected)
    assert not found.requires_grad
    assert base.head().weight_VH is model.head().weight_VH
    assert dict(base.named_parameters()).keys() == dict(plain.named_parameters()).keys()
    base.requires_grad_(False)
    assert num_trainable(model) > 0  # the adapters are not the base's to freeze
    assert not torch.equal(model(batch), expected)
    with without_lora(model):
        assert torch.equal(model(batch), expected)
    assert not torch.equal(model(batch), expected)


def test_the_base_is_saved_without_the_adapters(tmp_path: Path) -> None:
    plain, model = (decoder_of(peer_of(random_config("llama", 1))) for _ in range(2))
    LoraBase(learnt(model)).save_weights(tmp_path / "a")
    plain.save_weights(tmp_path / "b")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


# ---- refusals


def test_what_cannot_carry_adapters_is_refused() -> None:
    base = LoraBase(learnt(decoder_of(peer_of(random_config("llama", 1)))))
    with pytest.raises(CompatibilityError, match="LoraBase"):
        add_lora(base, CONFIG)
    assert lora_config(base) is None
    assert lora_state(base) == {}
    model = learnt(decoder_of(peer_of(random_config("llama", 1))))
    before = {name: tensor.clone() for name, tensor in lora_state(model).items()}
    with pytest.raises(CompatibilityError, match="already"):
        add_lora(model, CONFIG)
    assert all(torch.equal(tensor, before[name]) for name, tensor in lora_state(model).items())
