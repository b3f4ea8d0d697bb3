from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError, IntegrityError, SourceError
from spiritsafe.distil.hidden.file import load_hidden_match, save_hidden_match
from spiritsafe.distil.hidden.match import ChannelUnits, HiddenMatch, MatchedPair
from spiritsafe.distil.hidden.projections import AffineProjection, IndexProjection, Projection


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pair_of(layer: int, projection: Projection) -> MatchedPair:
    units = ChannelUnits(centre_H=draw(4, seed=layer).float(), inverse_H=draw(4, seed=layer + 9).float().exp())
    return MatchedPair(
        student_layer=layer, teacher_layer=layer + 2, projection=projection, units=units, share=1.0 / (layer + 3)
    )


def some_match() -> HiddenMatch:
    mean, bias = draw(6, seed=1), draw(4, seed=2)
    full = AffineProjection(name="procrustes", mean_G=mean, left_GK=draw(6, 4, seed=3), right_KH=None, bias_H=bias)
    low = AffineProjection(
        name="low_rank", mean_G=mean, left_GK=draw(6, 2, seed=4), right_KH=draw(2, 4, seed=5), bias_H=bias
    )
    pairs = [pair_of(0, IndexProjection((5, 1, 0, 2), 6)), pair_of(1, full), pair_of(2, low)]
    return HiddenMatch(pairs, weight=0.1, until=0.3, schedule="linear", share_of_tokens=0.5, cosine=0.7, seed=8)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    match = some_match()
    match.at_step(3, 12)  # the current weight is no part of it
    save_hidden_match(tmp_path / "match.safetensors", match)
    again = load_hidden_match(tmp_path / "match.safetensors")
    assert again.describe() == match.describe()
    assert again.weight == 0.1
    again.at_step(3, 12)
    students, teachers = [draw(20, 4, seed=s) for s in range(3)], [draw(20, 6, seed=s) for s in range(3)]
    one, two = (m.match(students, teachers, torch.ones(20)) for m in (match, again))
    assert torch.equal(one.loss, two.loss)
    assert all(torch.equal(a, b) for a, b in zip(one.grads_RH, two.grads_RH, strict=True))


def test_a_changed_tensor_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "match.safetensors"
    save_hidden_match(path, some_match())
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["1.left_GK"][0, 0] += 1.0
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(IntegrityError, match="was changed"):
        load_hidden_match(path)
    del tensors["0.centre_H"]
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(IntegrityError, match="was changed"):
        load_hidden_match(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        load_hidden_match(tmp_path / "absent")
    (tmp_path / "text").write_text("no tensors here")
    with pytest.raises(SourceError, match="cannot be read"):
        load_hidden_match(tmp_path / "text")
    save_file({"x": torch.ones(1)}, tmp_path / "foreign")
    with pytest.raises(SourceError, match="no hidden-state match"):
        load_hidden_match(tmp_path / "foreign")


def test_a_projection_of_another_kind_is_refused(tmp_path: Path) -> None:
    class Doubling:
        def __call__(self, teacher_RG: Tensor) -> Tensor:
            return 2.0 * teacher_RG

        def describe(self) -> dict[str, JSON]:
            return {"projection": "doubling"}

    with pytest.raises(CompatibilityError, match="Doubling"):
        save_hidden_match(tmp_path / "x", HiddenMatch([pair_of(0, Doubling())], weight=1.0))
    assert not (tmp_path / "x").exists()
