from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM

from spiritsafe.core.errors import BudgetError, NumericalError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models.checkpoints.directory import write_lineage
from spiritsafe.models.checkpoints.lineage import verify_checkpoint
from spiritsafe.models.cost.footprint import layers_within, measure_bytes, predict_footprint
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import IGNORED, Document, pack_documents
from spiritsafe.models.pruning.depth import block_influence, choose_layers, cut_depth, mean_loss
from spiritsafe.models.sources.tiny import write_byte_tokenizer
from spiritsafe.models.transformers_backend.loading import load_decoder, load_model


def documents(count: int = 5) -> list[Document]:
    generator = torch.Generator().manual_seed(2)
    out = []
    for index in range(count):
        length = 9 + 3 * index
        ids = torch.randint(4, 260, (length,), generator=generator).tolist()
        out.append(Document(token_ids=tuple(ids), supervised=tuple(i > 3 for i in range(length))))
    return out


@pytest.fixture(scope="module")
def model(deep_directory: Path) -> Decoder:
    """Six layers of clearly different weight: layer 4 does almost nothing, layer 1 a lot."""
    model = load_decoder(deep_directory, dtype=torch.float32)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        model.embedding.weight.copy_(torch.randn(model.embedding.weight.shape, generator=generator))
        for index, gain in enumerate((20.0, 40.0, 15.0, 25.0, 0.01, 30.0)):
            for name, parameter in model.blocks[index].named_parameters():
                if name in ("out.weight", "down.weight"):
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02 * gain)
    return model


def reference_streams(model: Decoder, document: Document, tmp_path: Path) -> list[torch.Tensor]:
    model.save_weights(tmp_path)
    other = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    streams: list[torch.Tensor] = []
    for layer in other.model.layers:
        layer.register_forward_pre_hook(lambda _, inputs: streams.append(inputs[0][0]))
    other.model.norm.register_forward_pre_hook(lambda _, inputs: streams.append(inputs[0][0]))
    with torch.no_grad():
        other(torch.tensor([document.token_ids]))
    return streams


def test_block_influence_is_equation_1_over_all_tokens(model: Decoder, tmp_path: Path) -> None:
    docs = documents(2)
    streams = [reference_streams(model, d, tmp_path) for d in docs]
    expected = []
    for layer in range(6):
        pairs = [functional.cosine_similarity(s[layer], s[layer + 1], dim=-1) for s in streams]
        expected.append(1.0 - float(torch.cat(pairs).mean()))
    assert block_influence(model, docs) == pytest.approx(expected, abs=1e-5)
    assert block_influence(model, docs, tokens_per_batch=10) == pytest.approx(expected, abs=1e-5)
    assert min(range(6), key=expected.__getitem__) == 4


def test_mean_loss_is_cross_entropy_of_supervised_tokens(model: Decoder) -> None:
    batch = pack_documents(documents())
    with torch.no_grad():
        logits_NV = model.logits(model(batch))
    expected = float(functional.cross_entropy(logits_NV, batch.targets_N, ignore_index=IGNORED))
    assert mean_loss(model, documents()) == pytest.approx(expected, abs=1e-5)
    assert mean_loss(model, documents(), tokens_per_batch=12) == pytest.approx(expected, abs=1e-5)


def test_greedy_removal_is_the_brute_force_one(model: Decoder) -> None:
    docs = documents()
    kept, expected = list(range(6)), []
    for _ in range(3):
        losses = {layer: mean_loss(model, docs, [k for k in kept if k != layer]) for layer in kept}
        best = min(losses, key=losses.__getitem__)
        kept.remove(best)
        expected.append((best, losses[best]))
    plan = choose_layers(model, docs, 3, criterion="loss", num_candidates=6, tokens_per_batch=25)
    assert plan.keep == tuple(kept)
    assert plan.removed == tuple(layer for layer, _ in expected)
    assert plan.scores == pytest.approx([loss for _, loss in expected], abs=1e-4)
    assert plan.loss_after == pytest.approx(expected[-1][1], abs=1e-4)
    assert plan.loss_before == pytest.approx(mean_loss(model, docs), abs=1e-4)


def test_candidates_are_those_of_least_influence(model: Decoder) -> None:
    docs = documents()
    influence = block_influence(model, docs)
    order = sorted(range(6), key=influence.__getitem__)
    assert choose_layers(model, docs, 5, num_candidates=1).removed == (order[0],)
    plan = choose_layers(model, docs, 4, criterion="influence")
    assert plan.removed == tuple(order[:2])
    assert plan.scores == pytest.approx([influence[layer] for layer in order[:2]])
    assert set(plan.keep) == set(range(6)) - set(order[:2])


def test_keeping_all_changes_nothing_and_impossible_wishes_are_refused(model: Decoder) -> None:
    plan = choose_layers(model, documents(), 6)
    assert plan.keep == (0, 1, 2, 3, 4, 5)
    assert plan.loss_after == plan.loss_before
    for wish in (0, 7):
        with pytest.raises(BudgetError):
            choose_layers(model, documents(), wish)
    silent = [Document(token_ids=(5, 6), supervised=(False, False))]
    with pytest.raises(NumericalError, match="supervise no token"):
        choose_layers(model, silent, 3)


def test_a_cut_directory_is_the_same_model_without_those_layers(
    model: Decoder, deep_directory: Path, tmp_path: Path
) -> None:
    source = tmp_path / "parent"
    source.mkdir()
    model.save_weights(source)
    write_byte_tokenizer(source, max_length=1024)
    write_lineage(source, name="parent", license="MIT")
    keep = (0, 2, 5)
    made = cut_depth(source, tmp_path / "child", keep, name="child", recipe="sha256:ab")
    assert verify_checkpoint(tmp_path / "child") == made
    assert (made.name, made.license, made.recipe) == ("child", "MIT", "sha256:ab")
    assert made.parents[0].name == "parent"
    assert made.parents[0].used_as == ("weights",)
    loaded = load_model(tmp_path / "child", dtype=torch.float32)
    assert loaded.model.num_layers == 3
    assert isinstance(loaded.model, Decoder)
    assert mean_loss(loaded.model, documents()) == pytest.approx(mean_loss(model, documents(), keep), abs=1e-5)
    other = AutoModelForCausalLM.from_pretrained(tmp_path / "child", dtype=torch.float32).eval()
    ids = torch.tensor([documents()[-1].token_ids])
    batch = pack_documents([documents()[-1]])
    with torch.no_grad():
        assert torch.allclose(other(ids).logits[0], loaded.model.logits(loaded.model(batch)), atol=1e-4)


def test_bytes_shrink_as_predicted(deep_directory: Path, tmp_path: Path) -> None:
    num_keep = layers_within(
        read_json(deep_directory / "config.json"), int(0.8 * measure_bytes(deep_directory)), "fp32"
    )
    cut_depth(deep_directory, tmp_path / "child", range(num_keep), name="child")
    whole, part = measure_bytes(deep_directory), measure_bytes(tmp_path / "child")
    assert part <= 0.8 * whole
    assert part == predict_footprint(read_json(tmp_path / "child" / "config.json"), "fp32").weight_bytes
    layer = (whole - part) / (6 - num_keep)
    assert part + layer > 0.8 * whole


def test_layer_kinds_follow_their_layers(tmp_path: Path) -> None:
    config = {
        "model_type": "qwen3",
        "vocab_size": 260,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "max_position_embeddings": 128,
        "use_sliding_window": True,
        "sliding_window": 4,
        "max_window_layers": 2,
    }
    source = tmp_path / "parent"
    source.mkdir()
    Decoder(DecoderConfig.from_hf(config), seed=4).save_weights(source)
    write_byte_tokenizer(source, max_length=128)
    write_lineage(source, name="parent", license="MIT")
    cut_depth(source, tmp_path / "child", (1, 2, 3), name="child")
    assert load_decoder(tmp_path / "child", dtype=torch.float32).config.windows == (None, 4, 4)
    written = json.loads((tmp_path / "child" / "config.json").read_text())
    assert written["layer_types"] == ["full_attention", "sliding_attention", "sliding_attention"]
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "child").config.num_hidden_layers == 3


@pytest.mark.parametrize("keep", [(), (1, 0), (0, 0), (0, 6), (-1, 2)])
def test_wrong_layers_are_refused_and_leave_nothing(
    keep: tuple[int, ...], deep_directory: Path, tmp_path: Path
) -> None:
    with pytest.raises(BudgetError, match="cannot be kept"):
        cut_depth(deep_directory, tmp_path / "child", keep, name="child")
    assert list(tmp_path.iterdir()) == []
