"""Adapters over a quantised base (QLoRA): gradients, peft, sampling, killed runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from quantised_peers import in_peft, logits_of, nf4_in_transformers
from tiny_training import counting_documents

from spiritsafe.core.records import Message, Prompt, Sampling
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.checkpoints.directory import write_lineage
from spiritsafe.models.checkpoints.lineage import read_checkpoint
from spiritsafe.models.decoder.lora_layer import LoraLayer
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.decoder.quantised import WeightFormat
from spiritsafe.models.interface.batch import Document, pack_documents
from spiritsafe.models.lora.adapters import LoraBase, add_lora, lora_state, merge_lora
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.lora.files import save_lora
from spiritsafe.models.running.generators.local_generator import LocalGenerator
from spiritsafe.models.sources.tiny import write_tiny
from spiritsafe.models.transformers_backend.loading import LoadedModel, load_decoder
from spiritsafe.training import TracesObjective, TrainConfig, train
from spiritsafe.training.checkpoints.state import weights_fingerprint

LORA = LoraConfig(rank=4, alpha=8.0, seed=3)
IDS = tuple(range(5, 42))


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose keys and values are no whole number of blocks."""
    directory = tmp_path_factory.mktemp("ragged")
    write_tiny(directory, seed=5, hidden_size=40)
    write_lineage(directory, name="ragged", license="MIT")
    return directory


def learnt(directory: Path, weights: WeightFormat | None, dtype: torch.dtype = torch.float32) -> Decoder:
    model = load_decoder(directory, dtype=dtype, weights=weights)
    add_lora(model, LORA)
    generator = torch.Generator().manual_seed(1)
    for name, tensor in lora_state(model).items():
        if "lora_B" in name:
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    return model


def gradients(model: Decoder) -> dict[str, torch.Tensor]:
    """Of the mean log-probability of the next token."""
    document = Document(token_ids=IDS, supervised=(True,) * len(IDS))
    logits = model.logits(model(pack_documents([document])))
    torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(IDS[1:])).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("weights", ["4bit", "8bit"])
def test_gradients_are_those_over_the_dequantised_weights_in_float64(
    ragged: Path, weights: WeightFormat, checkpointing: bool
) -> None:
    model, reference = learnt(ragged, weights), learnt(ragged, weights)
    model.activation_checkpointing = checkpointing
    reference.dequantise()
    found, expected = gradients(model), gradients(reference.double())
    assert found.keys() == expected.keys()
    assert all(".lora." in name for name in found)
    for name, gradient in found.items():
        assert (gradient - expected[name]).abs().max() < 1e-5 * expected[name].abs().max() + 1e-8


def test_logits_and_gradients_are_pefts_over_transformers_four_bits(ragged: Path, tmp_path: Path) -> None:
    model = learnt(ragged, "4bit")
    save_lora(tmp_path / "adapter", model, base=read_checkpoint(ragged), name="a", license="MIT")
    assert "bnb_4bit_quant_type: nf4" in (tmp_path / "adapter" / "README.md").read_text("utf-8")
    peer = in_peft(nf4_in_transformers(ragged), tmp_path / "adapter", trainable=True)
    document = Document(token_ids=IDS, supervised=(True,) * len(IDS))
    torch.testing.assert_close(model.logits(model(pack_documents([document]))), logits_of(peer, IDS), rtol=0, atol=1e-5)
    found = gradients(model)
    loss = torch.nn.functional.cross_entropy(peer(torch.tensor([IDS])).logits[0, :-1], torch.tensor(IDS[1:]))
    loss.backward()
    theirs = {
        name.replace(".default", ""): p.grad
        for name, p in peer.named_parameters()
        if p.requires_grad and "lora" in name
    }
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            index, inner = int(name.split(".")[1]), "mlp" if layer.parts[0].name in ("gate", "down") else "self_attn"
            a_RI = found[f"{name}.a_QI"].split(layer.rank)
            b_ER = found[f"{name}.b_PR"].split([part.stop - part.start for part in layer.parts])
            for part, first, second in zip(layer.parts, a_RI, b_ER, strict=True):
                path = f"base_model.model.model.layers.{index}.{inner}.{part.name}_proj"
                torch.testing.assert_close(first, theirs[f"{path}.lora_A.weight"], rtol=1e-4, atol=1e-7)
                torch.testing.assert_close(second, theirs[f"{path}.lora_B.weight"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("weights", ["4bit", "8bit"])
def test_sampling_and_reading_see_what_merging_keeps(ragged: Path, weights: WeightFormat) -> None:
    prompts = [Prompt(problem_id=str(i), messages=(Message(role="user", content="1+" * i),)) for i in range(1, 4)]
    texts, read = [], []
    base_logits = None
    for is_merged in (False, True):
        model = learnt(ragged, weights)
        batch = pack_documents([Document(token_ids=IDS, supervised=(True,) * len(IDS))])
        if is_merged:
            merge_lora(model)
        else:
            with torch.no_grad():
                base_logits = model.logits(LoraBase(model)(batch))
        loaded = LoadedModel(model=model, chat=ChatFormat(ragged), checkpoint=read_checkpoint(ragged), directory=ragged)
        generator = LocalGenerator(loaded, max_batch=2)
        texts.append([a.token_ids for a in generator.generate(prompts, Sampling(temperature=1.0, max_tokens=12))])
        with torch.no_grad():
            read.append(model.logits(model(batch)))
    assert texts[0] == texts[1]
    torch.testing.assert_close(read[0], read[1], rtol=0, atol=1e-5)
    plain = load_decoder(ragged, dtype=torch.float32, weights=weights)
    with torch.no_grad():
        assert torch.equal(base_logits, plain.logits(plain(batch)))


class _StoppedInStepSix(TracesObjective):
    def at_step(self, step: int, num_steps: int) -> None:
        if step == 5:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("weights", "compute_dtype"), [("4bit", "bfloat16"), ("8bit", "float32")])
def test_a_stopped_run_goes_on_to_the_unbroken_ones_adapters(
    ragged: Path, tmp_path: Path, weights: WeightFormat, compute_dtype: str
) -> None:
    config = TrainConfig(
        learning_rate=1e-2, tokens_per_step=150, micro_batch_tokens=60, max_steps=8, checkpoint_every_steps=2,
        checkpoint_every_s=None, compute_dtype=compute_dtype,
    )  # fmt: skip

    def run(folder: str, objective: TracesObjective) -> Decoder:
        model = learnt(ragged, weights)
        train(model, counting_documents(40), objective, config, directory=tmp_path / folder)
        return model

    unbroken = run("unbroken", TracesObjective())
    with pytest.raises(KeyboardInterrupt):
        run("stopped", _StoppedInStepSix())
    resumed = run("stopped", TracesObjective())
    before, ours, theirs = (lora_state(model) for model in (learnt(ragged, weights), unbroken, resumed))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not any(torch.equal(ours[name], before[name]) for name in ours)
    frozen = {n: t for n, t in learnt(ragged, weights).state_dict().items() if ".lora." not in n}
    assert all(torch.equal(t, unbroken.state_dict()[n]) for n, t in frozen.items())


def test_another_format_is_another_model(ragged: Path) -> None:
    formats: tuple[WeightFormat | None, ...] = ("4bit", "8bit", None)
    assert len({weights_fingerprint(learnt(ragged, weights)) for weights in formats}) == 3
    model = learnt(ragged, "4bit")
    before = weights_fingerprint(model)
    model.blocks[1].down.quantised.codes.bitwise_xor_(255)
    assert weights_fingerprint(model) != before
