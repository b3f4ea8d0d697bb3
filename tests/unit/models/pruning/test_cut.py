from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import FAMILY_NAMES, peer_of
from cut_parts import SIZES, decoder_logits, documents, peer_logits, teacher_config, teacher_of, write_teacher
from safetensors.torch import load_file, save_file

from spiritsafe.core.errors import BudgetError, CompatibilityError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models.checkpoints.lineage import read_checkpoint, verify_checkpoint
from spiritsafe.models.cost.footprint import measure_bytes, predict_footprint
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.pruning.cut import CutPlan, StudentShape, cut, read_cut_plan, resized
from spiritsafe.models.pruning.importance import Importance, calibrate
from spiritsafe.models.transformers_backend.loading import load_decoder, load_model

WHOLE = StudentShape(num_layers=4, hidden_size=48, intermediate_size=40, num_kv_heads=3, vocab_size=260)
SMALL = WHOLE.model_copy(update={"num_layers": 3, "hidden_size": 40, "intermediate_size": 32, "num_kv_heads": 2})


def scores(directory: Path) -> Importance:
    return calibrate(load_decoder(directory, dtype=torch.float32), documents())


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return teacher_of(
        tmp_path_factory.mktemp("teacher"), "llama", tie_word_embeddings=True, attention_bias=False, mlp_bias=False
    )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_student_is_the_teacher_sliced_and_loads_everywhere(family: str, tied: bool, tmp_path: Path) -> None:
    source = teacher_of(tmp_path / "teacher", family, tie_word_embeddings=tied, attention_bias=None)
    plan = cut(source, tmp_path / "student", SMALL, scores(source), name="student", recipe="sha256:ab")
    document = documents()[-1]
    loaded = load_model(tmp_path / "student", dtype=torch.float32, implementation="decoder")
    ours, theirs = decoder_logits(loaded.model, document), peer_logits(tmp_path / "student", document)
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-4)
    config = read_json(tmp_path / "student" / "config.json")
    assert StudentShape.of(config) == plan.shape == SMALL
    assert config["head_dim"] == 8
    assert config["num_attention_heads"] == 4
    assert measure_bytes(tmp_path / "student") == predict_footprint(config, "fp32").weight_bytes
    assert read_cut_plan(tmp_path / "student") == plan
    checkpoint = verify_checkpoint(tmp_path / "student")
    assert (checkpoint.license, checkpoint.recipe, checkpoint.parents[0].used_as) == ("MIT", "sha256:ab", ("weights",))
    check_slices(source, tmp_path / "student", plan)


def check_slices(source: Path, target: Path, plan: CutPlan) -> None:
    """Each matrix against plain indexing of the teacher's."""
    old, new = load_file(source / "model.safetensors"), load_file(target / "model.safetensors")
    hidden = list(plan.kept_channels)
    torch.testing.assert_close(
        new["model.embed_tokens.weight"], old["model.embed_tokens.weight"][:, hidden], atol=0, rtol=0
    )
    for place, layer in enumerate(plan.kept_layers):
        groups, neurons = list(plan.kept_groups[place]), list(plan.kept_neurons[place])
        before = {name.split(f"layers.{layer}.")[1]: t for name, t in old.items() if f"layers.{layer}." in name}
        after = {name.split(f"layers.{place}.")[1]: t for name, t in new.items() if f"layers.{place}." in name}
        assert before.keys() == after.keys()
        query = before["self_attn.q_proj.weight"].view(3, 16, 48)[groups][:, :, hidden].reshape(32, 40)
        value = before["self_attn.v_proj.weight"].view(3, 8, 48)[groups][:, :, hidden].reshape(16, 40)
        out = before["self_attn.o_proj.weight"].view(48, 3, 16)[hidden][:, groups].reshape(40, 32)
        assert torch.equal(after["self_attn.q_proj.weight"], query)
        assert torch.equal(after["self_attn.v_proj.weight"], value)
        assert torch.equal(after["self_attn.o_proj.weight"], out)
        assert torch.equal(after["mlp.up_proj.weight"], before["mlp.up_proj.weight"][neurons][:, hidden])
        assert torch.equal(after["mlp.down_proj.weight"], before["mlp.down_proj.weight"][hidden][:, neurons])
        if "self_attn.k_proj.bias" in before:
            assert torch.equal(
                after["self_attn.k_proj.bias"], before["self_attn.k_proj.bias"].view(3, 8)[groups].flatten()
            )
        if "self_attn.q_norm.weight" in before:
            assert torch.equal(after["self_attn.q_norm.weight"], before["self_attn.q_norm.weight"])


def test_the_best_parts_stay(teacher: Path, tmp_path: Path) -> None:
    found = scores(teacher)
    plan = cut(teacher, tmp_path / "student", SMALL, found, name="student", layers=(0, 2, 3))
    assert plan.kept_layers == (0, 2, 3)
    assert set(plan.kept_channels) == set(found.channels_H.argsort()[-40:].tolist())
    for place, layer in enumerate(plan.kept_layers):
        assert set(plan.kept_neurons[place]) == set(found.neurons_LF[layer].argsort()[-32:].tolist())
        assert set(plan.kept_groups[place]) == set(found.groups_LK[layer].argsort()[-2:].tolist())
    assert (plan.source, plan.importance) == (read_checkpoint(teacher).digest, found.digest)
    by_influence = cut(teacher, tmp_path / "student", SMALL, found, name="student")
    assert set(by_influence.kept_layers) == set(found.influence_L.argsort()[-3:].tolist())


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_cutting_nothing_changes_no_bit(family: str, tmp_path: Path) -> None:
    source = teacher_of(tmp_path / "teacher", family)
    plan = cut(source, tmp_path / "student", WHOLE, scores(source), name="same")
    old, new = (load_file(tmp_path / name / "model.safetensors") for name in ("teacher", "student"))
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in old)
    assert set(plan.norm_scales) == {1.0}
    assert (source / "tokenizer.json").read_bytes() == (tmp_path / "student" / "tokenizer.json").read_bytes()
    document = documents()[-1]
    assert torch.equal(peer_logits(source, document), peer_logits(tmp_path / "student", document))


def silenced(family: str, directory: Path) -> Path:
    """A teacher some parts of which do nothing, in every layer others: their weights are zero."""
    peer: Any = peer_of(teacher_config(family, tie_word_embeddings=True))
    dead = torch.tensor([1, 4, 9, 16, 17, 23, 30, 31])
    with torch.no_grad():
        peer.model.embed_tokens.weight[:, dead] = 0.0
        for index, layer in enumerate(peer.model.layers):
            for linear in (layer.self_attn.o_proj, layer.mlp.down_proj):
                linear.weight[dead] = 0.0
                if linear.bias is not None:
                    linear.bias[dead] = 0.0
            layer.mlp.up_proj.weight[index : index + 8] = 0.0
            if layer.mlp.up_proj.bias is not None:
                layer.mlp.up_proj.bias[index : index + 8] = 0.0
            group = index % 3
            layer.self_attn.o_proj.weight[:, 16 * group : 16 * (group + 1)] = 0.0
            if index == 2:
                for linear in (layer.self_attn.o_proj, layer.mlp.down_proj):
                    linear.weight.zero_()
                    if linear.bias is not None:
                        linear.bias.zero_()
    return write_teacher(directory, peer)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_parts_that_do_nothing_go_without_a_trace(family: str, tmp_path: Path) -> None:
    source = silenced(family, tmp_path / "teacher")
    plan = cut(source, tmp_path / "student", SMALL, scores(source), name="student")
    assert plan.kept_layers == (0, 1, 3)
    assert not {1, 4, 9, 16, 17, 23, 30, 31} & set(plan.kept_channels)
    assert plan.kept_groups == ((1, 2), (0, 2), (1, 2))
    assert set(plan.kept_neurons[1]) == set(range(40)) - set(range(1, 9))
    # Root mean squares over 40 channels instead of 48, of which 8 are zero: the scale is exactly known.
    assert plan.norm_scales == pytest.approx([(48 / 40) ** 0.5] * 7, rel=1e-6)
    for document in documents():
        before, after = peer_logits(source, document), peer_logits(tmp_path / "student", document)
        torch.testing.assert_close(after, before, atol=2e-4, rtol=2e-4)


def test_a_trimmed_vocabulary_keeps_its_rows(teacher: Path, tmp_path: Path) -> None:
    kept_ids = tuple(range(260))  # bytes and special tokens: all of the byte tokenizer must stay
    padded = write_teacher(tmp_path / "padded", peer_of(teacher_config("llama", vocab_size=300), 1))
    found = calibrate(load_decoder(padded, dtype=torch.float32), documents())
    shape = WHOLE.model_copy(update={"num_layers": 4})
    plan = cut(padded, tmp_path / "student", shape, found, name="student", kept_ids=kept_ids)
    assert plan.kept_ids == kept_ids
    document = documents()[-1]
    torch.testing.assert_close(peer_logits(tmp_path / "student", document), peer_logits(padded, document)[:, :260])
    with pytest.raises(BudgetError, match="260 are kept"):
        cut(padded, tmp_path / "x", shape.model_copy(update={"vocab_size": 259}), found, name="x", kept_ids=kept_ids)


def test_bfloat16_stays_bfloat16(teacher: Path, tmp_path: Path) -> None:
    source = teacher_of(tmp_path / "teacher", "qwen3")
    tensors = {name: t.bfloat16() for name, t in load_file(source / "model.safetensors").items()}
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    cut(source, tmp_path / "student", SMALL, scores(source), name="student")
    assert {t.dtype for t in load_file(tmp_path / "student" / "model.safetensors").values()} == {torch.bfloat16}


def test_what_cannot_be_cut_is_refused_and_leaves_nothing(teacher: Path, tmp_path: Path) -> None:
    found = scores(teacher)
    other = scores(teacher_of(tmp_path / "other", "llama", intermediate_size=48))
    larger = WHOLE.model_copy(update={"hidden_size": 56})
    with pytest.raises(BudgetError, match="hidden_size=56"):
        cut(teacher, tmp_path / "x", larger, found, name="x")
    for layers in ((0, 1), (0, 2, 1), (0, 1, 4), (-1, 0, 1)):
        with pytest.raises(BudgetError, match="Layers"):
            cut(teacher, tmp_path / "x", SMALL, found, name="x", layers=layers)
    with pytest.raises(BudgetError, match="the teacher has 260"):
        cut(teacher, tmp_path / "x", SMALL.model_copy(update={"vocab_size": 100}), found, name="x")
    with pytest.raises(CompatibilityError, match="scores are of a model"):
        cut(teacher, tmp_path / "x", SMALL, other, name="x")
    strange = teacher_of(tmp_path / "strange", "llama")
    tensors = load_file(strange / "model.safetensors") | {"model.extra.weight": torch.zeros(2)}
    save_file(tensors, strange / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CompatibilityError, match=r"model\.extra\.weight"):
        cut(strange, tmp_path / "x", SMALL, found, name="x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "strange"]


def test_a_llama_of_odd_width_is_written_as_the_same_mistral(teacher: Path, tmp_path: Path) -> None:
    found = scores(teacher)
    odd = SMALL.model_copy(update={"hidden_size": 42, "num_layers": 4})
    cut(teacher, tmp_path / "student", odd, found, name="student")
    config = read_json(tmp_path / "student" / "config.json")
    assert (config["model_type"], config["architectures"]) == ("mistral", ["MistralForCausalLM"])
    assert config["sliding_window"] is None
    document = documents()[-1]
    loaded = load_model(tmp_path / "student", dtype=torch.float32, implementation="decoder")
    ours = decoder_logits(loaded.model, document)
    torch.testing.assert_close(ours, peer_logits(tmp_path / "student", document), atol=2e-4, rtol=2e-4)
    as_llama = DecoderConfig.from_hf({**config, "model_type": "llama", "sliding_window": None})
    llama = Decoder(as_llama, seed=None)
    llama.load_state_dict_hf(load_file(tmp_path / "student" / "model.safetensors"))
    assert torch.equal(decoder_logits(llama, document), ours)
    biased = teacher_of(tmp_path / "biased", "llama", attention_bias=True)
    with pytest.raises(CompatibilityError, match="Llama with biases"):
        cut(biased, tmp_path / "x", odd, scores(biased), name="x")


def test_resized_follows_the_kept_layers() -> None:
    config = teacher_config("qwen3", use_sliding_window=True, sliding_window=6, max_window_layers=2)
    out = resized(config, SMALL, (1, 2, 3))
    assert (out["num_hidden_layers"], out["max_window_layers"]) == (3, 1)
    assert (out["hidden_size"], out["num_key_value_heads"], out["head_dim"]) == (40, 2, SIZES["head_dim"])
