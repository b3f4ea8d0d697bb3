from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import FAMILY_NAMES, decoder_of, peer_of
from cut_parts import documents, teacher_config
from transformers import PreTrainedModel

from spiritsafe.core.errors import CompatibilityError, IntegrityError, NumericalError, SourceError
from spiritsafe.models.pruning.depth import block_influence
from spiritsafe.models.pruning.importance import Importance, calibrate


@torch.no_grad()
def reference(peer: PreTrainedModel) -> dict[str, np.ndarray]:
    """The same figures from transformers' own modules, in float64, document by document."""
    peer = peer.double()
    seen: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    def watch(name: str, module: torch.nn.Module) -> None:
        seen[name] = []
        module.register_forward_hook(lambda _, inputs, output: seen[name].append((inputs[0][0], output[0])))

    body: Any = peer.model
    norms = [part for layer in body.layers for part in (layer.input_layernorm, layer.post_attention_layernorm)]
    for index, norm in enumerate([*norms, body.norm]):
        watch(f"norm{index}", norm)
    for index, layer in enumerate(body.layers):
        watch(f"out{index}", layer.self_attn.o_proj)
        watch(f"down{index}", layer.mlp.down_proj)
    for document in documents():
        peer(torch.tensor([document.token_ids]))

    def rows(name: str, place: int) -> torch.Tensor:
        return torch.cat([pair[place] for pair in seen[name]])

    layers, joined = range(len(body.layers)), range(2 * len(body.layers) + 1)
    energy = [(x := rows(f"norm{j}", 0)).square() / x.square().mean(1, keepdim=True) for j in joined]
    width = 2 * 8  # two query heads of width 8 share a key-value head
    groups = [
        [
            (rows(f"out{i}", 0)[:, g * width : (g + 1) * width] @ w[:, g * width : (g + 1) * width].T)
            .norm(dim=1)
            .mean()
            for g in range(3)
        ]
        for i, layer in enumerate(body.layers)
        for w in [layer.self_attn.o_proj.weight]
    ]
    neurons = [rows(f"down{i}", 0).abs().mean(0) for i in layers]
    return {
        "channels_H": torch.stack([rows(f"norm{j}", 1).abs().mean(0) for j in joined]).mean(0).numpy(),
        "energy_JH": torch.stack([part.mean(0) for part in energy]).numpy(),
        "neurons_LF": torch.stack(neurons).numpy(),
        "groups_LK": np.array(groups),
    }


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_scores_are_what_transformers_modules_do(family: str) -> None:
    peer = peer_of(teacher_config(family))
    model = decoder_of(peer)
    found = calibrate(model, documents())
    for name, expected in reference(peer).items():
        np.testing.assert_allclose(getattr(found, name), expected, rtol=2e-4, err_msg=name)
    assert found.influence_L.tolist() == pytest.approx(block_influence(model, documents()), abs=1e-6)


def test_batches_do_not_matter_and_every_token_is_counted() -> None:
    model = decoder_of(peer_of(teacher_config("llama")))
    whole, parts = calibrate(model, documents()), calibrate(model, documents(), tokens_per_batch=12)
    for field in dataclasses.fields(whole):
        np.testing.assert_allclose(getattr(whole, field.name), getattr(parts, field.name), rtol=1e-4, atol=1e-6)
    tokens = [token for document in documents() for token in document.token_ids]
    assert whole.counts_V.tolist() == [tokens.count(index) for index in range(260)]
    assert whole.num_tokens == len(tokens)
    np.testing.assert_allclose(whole.energy_JH.sum(1), 48, rtol=1e-6)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_the_file_is_checked(tmp_path: Path) -> None:
    found = calibrate(decoder_of(peer_of(teacher_config("llama"))), documents(2))
    found.save(tmp_path / "scores.npz")
    loaded = Importance.load(tmp_path / "scores.npz")
    assert loaded.digest == found.digest
    np.testing.assert_array_equal(loaded.neurons_LF, found.neurons_LF)
    with np.load(tmp_path / "scores.npz") as file:
        arrays = dict(file)
    arrays["groups_LK"] = arrays["groups_LK"] * 1.01
    np.savez(tmp_path / "changed.npz", **arrays)
    with pytest.raises(IntegrityError, match="was changed"):
        Importance.load(tmp_path / "changed.npz")
    (tmp_path / "broken.npz").write_bytes((tmp_path / "scores.npz").read_bytes()[:500])
    with pytest.raises(IntegrityError, match="holds no scores"):
        Importance.load(tmp_path / "broken.npz")
    with pytest.raises(SourceError, match="cannot be read"):
        Importance.load(tmp_path / "absent.npz")


def test_nothing_to_measure_and_broken_weights_are_refused() -> None:
    model = decoder_of(peer_of(teacher_config("llama")))
    with pytest.raises(CompatibilityError, match="no calibration documents"):
        calibrate(model, [])
    with torch.no_grad():
        model.norm.weight[3] = float("nan")
    with pytest.raises(NumericalError, match="channels_H"):
        calibrate(model, documents(1))
