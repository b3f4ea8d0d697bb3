"""Adapters on models that transformers runs, held against plain peft over plain transformers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import write_foreign
from quantised_peers import in_peft, int8_as_numbers, logits_of, nf4_in_transformers
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from spiritsafe.core.errors import CompatibilityError, IntegrityError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.records import Message, Prompt, Sampling
from spiritsafe.models.decoder.head_product import head_logits
from spiritsafe.models.decoder.quantised import WeightFormat
from spiritsafe.models.interface.batch import Document, PackedBatch, pack_documents
from spiritsafe.models.interface.language_model import LanguageModel
from spiritsafe.models.lora.adapters import (
    LoraBase,
    add_lora,
    lora_config,
    lora_parameters,
    lora_state,
    merge_lora,
    num_trainable,
    without_lora,
)
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.lora.files import load_lora, save_lora
from spiritsafe.models.lora.merged import MergedLora
from spiritsafe.models.lora.peft_adapters import PeftAdapters
from spiritsafe.models.running.generators.transformers_generator import make_generator
from spiritsafe.models.transformers_backend.loading import LoadedModel, load_model
from spiritsafe.models.transformers_backend.model import TransformersModel
from spiritsafe.training.checkpoints.state import STATE_FILE, weights_fingerprint
from spiritsafe.training.config import TrainConfig
from spiritsafe.training.loop import TrainResult, train
from spiritsafe.training.objective import LossResult, TracesObjective

KINDS = ("gemma3_text", "phi3", "qwen3_moe", "gpt2")
TARGETS = {
    "gemma3_text": ("q", "k", "v", "o", "gate", "up", "down"),
    "phi3": ("q", "k", "v", "o", "gate", "up", "down"),
    "qwen3_moe": ("q", "k", "v", "o"),
    "gpt2": ("q", "k", "v", "o", "up", "down"),
}
LORA = LoraConfig(rank=4, alpha=6.0, seed=3)
IDS = tuple(range(4, 40))
DOCUMENT = Document(token_ids=IDS, supervised=(False,) + (True,) * (len(IDS) - 1))
CONFIG = TrainConfig(
    learning_rate=1e-2, tokens_per_step=70, micro_batch_tokens=40, max_steps=6, checkpoint_every_steps=2,
    checkpoint_every_s=None, compute_dtype="float32",
)  # fmt: skip


def foreign(directory: Path, kind: str, **settings: Any) -> LoadedModel:
    if not (directory / "config.json").is_file():
        write_foreign(directory, kind)
    return load_model(directory, **{"dtype": torch.float32, **settings})


@torch.no_grad()
def learnt(model: LanguageModel, lora: LoraConfig = LORA) -> LanguageModel:
    """With adapters that do something, the same each time."""
    add_lora(model, lora)
    for index, tensor in enumerate(lora_state(model).values()):
        tensor.copy_(0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(index)))
    return model


def logits(model: LanguageModel) -> Tensor:
    model.eval()
    with torch.no_grad():
        return head_logits(model.head(), model(pack_documents([DOCUMENT])))


def save(directory: Path, loaded: LoadedModel) -> Path:
    save_lora(directory, loaded.model, base=loaded.checkpoint, name="adapter", license="MIT")
    return directory


def loss_of(logits_NV: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits_NV[:-1].float(), torch.tensor(IDS[1:]))


@pytest.mark.parametrize("kind", KINDS)
def test_fresh_adapters_change_nothing_and_alone_learn(kind: str, tmp_path: Path) -> None:
    loaded = foreign(tmp_path, kind)
    before, names = logits(loaded.model), [name for name, _ in loaded.model.named_parameters()]
    assert lora_config(loaded.model) is None
    assert lora_state(loaded.model) == {}
    add_lora(loaded.model, LORA)
    assert torch.equal(logits(loaded.model), before)
    found = lora_config(loaded.model)
    assert found == LORA.model_copy(update={"seed": 0, "targets": TARGETS[kind]})
    trainable = {p for p in loaded.model.parameters() if p.requires_grad}
    assert trainable == lora_parameters(loaded.model)
    assert num_trainable(loaded.model) == sum(tensor.numel() for tensor in lora_state(loaded.model).values())
    firsts = [tensor for name, tensor in lora_state(loaded.model).items() if "lora_A" in name]
    assert all(0.9 < float(one.abs().max()) * one.shape[1] ** 0.5 <= 1.0 for one in firsts)
    other = foreign(tmp_path, kind)
    add_lora(other.model, LORA)
    pairs = zip(lora_state(other.model).values(), lora_state(loaded.model).values(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    with pytest.raises(CompatibilityError, match="has adapters already"):
        add_lora(loaded.model, LORA)
    with without_lora(loaded.model):
        assert [name for name, _ in loaded.model.named_parameters()] == names


@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_gradients_are_pefts_over_transformers(kind: str, tmp_path: Path) -> None:
    loaded = foreign(tmp_path / "base", kind)
    model = learnt(loaded.model)
    adapter = save(tmp_path / "adapter", loaded)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    peer = in_peft(base, adapter, trainable=True).eval()
    theirs = peer(torch.tensor([IDS])).logits[0]
    torch.testing.assert_close(logits(model), theirs.detach(), rtol=0, atol=1e-5)
    assert (logits(LoraBase(model)) - theirs).abs().max() > 1e-2
    loss_of(theirs).backward()
    model.eval()
    loss_of(model(pack_documents([DOCUMENT])) @ model.head().weight_VH.T * model.head().scale).backward()
    ours = {name.replace(".default", ""): p.grad for name, p in model.named_parameters() if p.grad is not None}
    found = {name.replace(".default", ""): p.grad for name, p in peer.named_parameters() if p.grad is not None}
    assert len(ours) == len(found) == len(lora_state(model))
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, found[f"base_model.{name}"], rtol=1e-4, atol=1e-6)
    assert read_json(adapter / "adapter_config.json").get("fan_in_fan_out", False) == (kind == "gpt2")


@pytest.mark.parametrize("kind", KINDS)
def test_merged_is_unmerged_here_and_in_transformers(kind: str, tmp_path: Path) -> None:
    loaded = foreign(tmp_path / "base", kind)
    names = {name for name, _ in loaded.model.named_parameters()}
    model = learnt(loaded.model)
    with pytest.raises(CompatibilityError, match="not part of its weights"):
        model.save_weights(tmp_path)
    with pytest.raises(CompatibilityError, match="while its adapters are folded in"):
        MergedLora(model)
    unmerged = logits(model)
    merge_lora(model)
    assert lora_config(model) is None
    assert {name for name, p in model.named_parameters() if p.requires_grad} == names
    torch.testing.assert_close(logits(model), unmerged, rtol=0, atol=3e-5)
    (tmp_path / "made").mkdir()
    model.save_weights(tmp_path / "made")
    made = AutoModelForCausalLM.from_pretrained(tmp_path / "made")
    torch.testing.assert_close(logits_of(made, IDS), unmerged, rtol=0, atol=3e-5)
    start, end = (load_file(tmp_path / place / "model.safetensors") for place in ("base", "made"))
    assert start.keys() == end.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_are_read_back_ours_and_pefts(kind: str, tmp_path: Path) -> None:
    loaded = foreign(tmp_path / "base", kind)
    expected = logits(learnt(loaded.model))
    adapter = save(tmp_path / "adapter", loaded)
    again = foreign(tmp_path / "base", kind)
    assert load_lora(again.model, adapter, base=again.checkpoint) == lora_config(loaded.model)
    assert torch.equal(logits(again.model), expected)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    in_peft(base, adapter).save_pretrained(tmp_path / "theirs", save_embedding_layers=False)
    third = foreign(tmp_path / "base", kind)
    load_lora(third.model, tmp_path / "theirs", base=third.checkpoint)
    assert torch.equal(logits(third.model), expected)
    other = foreign(tmp_path / "base", kind)
    with pytest.raises(CompatibilityError, match="were trained on"):
        load_lora(other.model, adapter, base=other.checkpoint.model_copy(update={"digest": "sha256:" + "0" * 64}))


def test_names_tell_peft_of_some_layers_only(tmp_path: Path) -> None:
    loaded = foreign(tmp_path / "base", "gpt2")
    learnt(loaded.model, LORA.model_copy(update={"targets": ("o",)}))
    assert PeftAdapters(loaded.model).module_names() == ("attn.c_proj",)
    adapter = save(tmp_path / "adapter", loaded)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    torch.testing.assert_close(logits_of(in_peft(base, adapter), IDS), logits(loaded.model), rtol=0, atol=1e-5)


def test_the_base_takes_no_memory_and_is_the_base(tmp_path: Path) -> None:
    loaded = foreign(tmp_path, "phi3")
    before = logits(loaded.model)
    fingerprint = weights_fingerprint(loaded.model)
    model = learnt(loaded.model)
    base = LoraBase(model)
    assert torch.equal(logits(base), before)
    assert not torch.equal(logits(model), before)
    assert weights_fingerprint(base) == fingerprint != weights_fingerprint(model)
    kept = {p.data_ptr() for p in model.parameters()}
    assert all(p.data_ptr() in kept for p in base.parameters())
    (tmp_path / "written").mkdir()
    base.save_weights(tmp_path / "written")
    assert (
        load_file(tmp_path / "written" / "model.safetensors").keys() == load_file(tmp_path / "model.safetensors").keys()
    )


@pytest.mark.parametrize("kind", ["phi3", "qwen3_moe"])
def test_the_samplers_logprobs_are_the_trainers(kind: str, tmp_path: Path) -> None:
    loaded = foreign(tmp_path, kind)
    generator = make_generator(loaded, max_batch=2)  # made before the adapters are
    model = learnt(loaded.model)
    prompts = [Prompt(problem_id=name, messages=(Message(role="user", content=name),)) for name in ("a", "12 + 3")]
    seen = []
    for _ in range(2):
        attempts = list(generator.generate(prompts, Sampling(max_tokens=8)))
        for attempt in attempts:
            messages = (Message(role="user", content=attempt.problem_id),)
            document = loaded.chat.document_from_tokens(messages, attempt.token_ids)
            with torch.no_grad():
                found = head_logits(model.head(), model(pack_documents([document]))).log_softmax(-1)
            rows = found[attempt.num_prompt_tokens - 1 : -1]
            expected = rows.gather(1, torch.tensor(attempt.token_ids)[:, None]).squeeze(1)
            torch.testing.assert_close(torch.tensor(attempt.logprobs), expected, rtol=0, atol=1e-4)
        seen.append({attempt.problem_id: attempt.token_ids for attempt in attempts})
        for name, tensor in lora_state(model).items():  # the same generator after an update
            if "lora_B" in name:
                tensor.neg_()
    assert seen[0] != seen[1]


class _Killed(TracesObjective):
    """Ends the run in its fifth step."""

    def at_step(self, step: int, num_steps: int) -> None:
        self.step = step

    def __call__(self, model: LanguageModel, batch: PackedBatch, normaliser: float) -> LossResult:
        if self.step == 4:
            raise KeyboardInterrupt
        return super().__call__(model, batch, normaliser)


def documents() -> list[Document]:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(4, 60, (12 + n,), generator=generator).tolist() for n in range(12)]
    return [Document(token_ids=tuple(row), supervised=(False,) + (True,) * (len(row) - 1)) for row in rows]


def run(
    place: Path,
    base: Path,
    kind: str,
    objective: TracesObjective | None = None,
    weights: WeightFormat | None = None,
    **changes: Any,
) -> tuple[LanguageModel, TrainResult]:
    model = foreign(base, kind, weights=weights).model
    add_lora(model, LORA)
    config = CONFIG.model_copy(update=changes)
    return model, train(model, documents(), objective or TracesObjective(), config, directory=place)


@pytest.mark.parametrize(
    ("kind", "dtype", "weights"),
    [
        ("phi3", "float32", None),
        ("qwen3_moe", "bfloat16", None),
        ("phi3", "bfloat16", "4bit"),
        ("phi3", "float32", "8bit"),
    ],
)
def test_a_killed_training_goes_on_as_if_unbroken(
    kind: str, dtype: str, weights: WeightFormat | None, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    start = foreign(base, kind, weights=weights).model
    untouched = {name: p.detach().clone() for name, p in start.named_parameters()}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", base, kind, _Killed(), weights, compute_dtype=dtype)
    state = torch.load(tmp_path / "killed" / STATE_FILE, weights_only=True)
    assert state["step"] == 4
    assert all(".lora_" in name for name in state["names"])
    resumed, result = run(tmp_path / "killed", base, kind, weights=weights, compute_dtype=dtype)
    unbroken, expected = run(tmp_path / "unbroken", base, kind, weights=weights, compute_dtype=dtype)
    assert [row["loss"] for row in result.curve] == [row["loss"] for row in expected.curve]
    for mine, theirs in zip(resumed.parameters(), unbroken.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert all(bool(tensor.any()) for tensor in lora_state(resumed).values())
    with without_lora(resumed):
        assert all(torch.equal(p, untouched[name]) for name, p in resumed.named_parameters())
    other = LORA.model_copy(update={"alpha": 9.0})
    model = foreign(base, kind, weights=weights).model
    add_lora(model, other)
    with pytest.raises(IntegrityError, match="another run"):
        train(model, documents(), TracesObjective(), CONFIG, directory=tmp_path / "killed")


@pytest.mark.parametrize("weights", ["4bit", "8bit"])
@pytest.mark.parametrize("kind", ["phi3", "qwen3_moe"])
def test_a_quantised_base_learns_and_is_merged_as_its_codes(kind: str, weights: WeightFormat, tmp_path: Path) -> None:
    loaded = foreign(tmp_path / "base", kind, weights=weights)
    model = loaded.model
    add_lora(model, LORA)
    assert num_trainable(model) == sum(tensor.numel() for tensor in lora_state(model).values())
    assert {tensor.dtype for tensor in lora_state(model).values()} == {torch.float32}
    before = logits(model)
    train(model, documents(), TracesObjective(), CONFIG, directory=tmp_path / "run")
    unmerged = logits(model)
    assert (unmerged - before).abs().max() > 1e-2
    adapter = save(tmp_path / "adapter", loaded)
    assert f"load_in_{weights}: True" in (adapter / "README.md").read_text("utf-8")
    if weights == "4bit":
        peer = in_peft(nf4_in_transformers(tmp_path / "base"), adapter)
        torch.testing.assert_close(logits_of(peer, IDS), unmerged, rtol=0, atol=1e-4)
    else:  # LLM.int8 rounds rows of activations as well, which no matrix does: held against its codes' numbers
        peer = in_peft(int8_as_numbers(tmp_path / "base"), adapter)
        assert (logits_of(peer, IDS) - unmerged).square().mean() < 0.01 * unmerged.square().mean()
        unmerged = logits_of(peer, IDS)
    merge_lora(model)
    (tmp_path / "made").mkdir()
    model.save_weights(tmp_path / "made")
    made = AutoModelForCausalLM.from_pretrained(tmp_path / "made")
    torch.testing.assert_close(logits_of(made, IDS), unmerged, rtol=0, atol=1e-4)
    start, end = (load_file(tmp_path / place / "model.safetensors") for place in ("base", "made"))
    assert start.keys() == end.keys()
    assert "quantization_config" not in read_json(tmp_path / "made" / "config.json")


def test_codes_are_not_packed_for_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = logits(learnt(foreign(tmp_path, "phi3", weights="4bit").model))
    modules = pytest.importorskip("bitsandbytes.nn.modules", reason="bitsandbytes is not installed")
    monkeypatch.setattr(modules, "has_avx512bf16", lambda: True)  # as on a processor that multiplies bfloat16
    monkeypatch.setattr(modules, "_convert_weight_packed_for_cpu", lambda *args: pytest.fail("packed"))
    assert torch.equal(logits(learnt(foreign(tmp_path, "phi3", weights="4bit").model)), expected)


def test_what_cannot_be_is_refused_and_leaves_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phi = foreign(tmp_path / "phi3", "phi3").model
    before = logits(phi)
    with pytest.raises(CompatibilityError, match=r"q, k, v in one matrix .*qkv_proj") as caught:
        add_lora(phi, LoraConfig(targets=("q", "v")))
    assert "Name all of q, k, v" in caught.value.hint
    mixture = foreign(tmp_path / "qwen3_moe", "qwen3_moe").model
    with pytest.raises(CompatibilityError, match=r"known as one of gate, up, down; it has .*o_proj") as caught:
        add_lora(mixture, LoraConfig(targets=("gate", "up", "down")))
    assert "q, k, v and o" in caught.value.hint
    with pytest.raises(CompatibilityError, match=r"it has .*in_proj.*out_proj"):
        add_lora(TransformersModel(write_foreign(tmp_path / "mamba", "mamba"), dtype=torch.float32, device="cpu"), LORA)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(CompatibilityError, match="are peft's") as caught:
        add_lora(phi, LORA)
    assert "spiritsafe[adapters]" in caught.value.hint
    assert torch.equal(logits(phi), before)
    assert all(p.requires_grad for p in phi.parameters())
