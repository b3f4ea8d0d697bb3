"""Merging against the papers' formulas, entry by entry in float64, and against what MergeKit made."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor

from spiritsafe.core.seeds import derive_seed
from spiritsafe.models.checkpoints import merge_methods
from spiritsafe.models.checkpoints.merge_methods import (
    MergeMethod,
    MergeSettings,
    dropped,
    elected_mean,
    merge_tensors,
    trimmed,
)

GOLDEN = Path(__file__).parents[3] / "golden" / "merge" / "merges.safetensors"
OURS: dict[str, MergeMethod] = {
    "linear": "linear",
    "task_arithmetic": "task-arithmetic",
    "ties": "ties",
    "dare_linear": "dare",
    "dare_ties": "dare-ties",
}
METHODS: tuple[MergeMethod, ...] = get_args(MergeMethod)


def wanted(method: MergeMethod, **changes: Any) -> MergeSettings:
    values = {"weights": (0.5, 0.9, 0.2), "densities": (1.0, 1.0, 1.0), "normalize": method in ("linear", "ties")}
    return MergeSettings(method=method, **{**values, **changes})


def golden() -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(GOLDEN, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - a handle is not iterable
        return json.loads(file.metadata()["merges"]), tensors


@pytest.mark.parametrize("merge", sorted(golden()[0]))
def test_it_comes_to_what_mergekit_made(merge: str) -> None:
    merges, tensors = golden()
    told = merges[merge]
    method = OURS[told["merge_method"]]
    asked = MergeSettings(
        method=method,
        weights=[one["weight"] for one in told["per_model"]],
        densities=[one.get("density", 1.0) for one in told["per_model"]],
        normalize=told["parameters"].get("normalize", method in ("linear", "ties")),
        scale=told["parameters"].get("lambda", 1.0),
    )
    names = sorted({name.partition("/")[2] for name in tensors})
    assert len(names) == 4
    for name in names:
        base = None if method == "linear" else tensors[f"in:base/{name}"]
        found = merge_tensors(name, base, [tensors[f"in:{model}/{name}"] for model in "abc"], asked)
        torch.testing.assert_close(found, tensors[f"out:{merge}/{name}"], rtol=1.2e-7, atol=1e-8)


# ---- the papers' formulas, a number at a time ------------------------------------------------------------------------


def trimmed_by_hand(change: Sequence[float], density: float) -> list[float]:
    """Yadav et al., algorithm 1: keep the top k of the magnitudes; of equal ones the earlier."""
    count = max(1, int(density * len(change)))
    largest = sorted(range(len(change)), key=lambda at: (-abs(change[at]), at))[:count]
    return [value if at in largest else 0.0 for at, value in enumerate(change)]


def elected_by_hand(changes: Sequence[Sequence[float]], weights: Sequence[float], *, is_mean: bool) -> list[float]:
    """The same: gamma = sgn(sum of tau), then the mean over the tasks whose sign is gamma."""
    found = []
    for entry in zip(*changes, strict=True):
        gamma = math.copysign(1.0, sum(w * c for w, c in zip(weights, entry, strict=True)) + 0.0)
        agreeing = [(w, c) for w, c in zip(weights, entry, strict=True) if c * gamma > 0]
        total = sum(w * c for w, c in agreeing)
        found.append(total / sum(w for w, _ in agreeing) if is_mean and agreeing else total)
    return found


def merged_by_hand(base: list[float], models: list[list[float]], asked: MergeSettings) -> list[float]:
    weights = asked.weights
    if asked.method == "linear":
        sums = [sum(w * m for w, m in zip(weights, entry, strict=True)) for entry in zip(*models, strict=True)]
        return [one / (sum(weights) if asked.normalize else 1.0) for one in sums]
    changes = [[m - b for m, b in zip(model, base, strict=True)] for model in models]
    if asked.method == "ties":
        changes = [trimmed_by_hand(one, density) for one, density in zip(changes, asked.densities, strict=True)]
        merged = elected_by_hand(changes, weights, is_mean=asked.normalize)
    else:
        merged = [sum(w * c for w, c in zip(weights, entry, strict=True)) for entry in zip(*changes, strict=True)]
        merged = [one / (sum(weights) if asked.normalize else 1.0) for one in merged]
    return [b + asked.scale * one for b, one in zip(base, merged, strict=True)]


SIXTEENTHS = st.integers(-40, 40).map(lambda number: number / 16)  # sums of these are exact: no sign hangs on rounding
WEIGHTS = st.integers(1, 8).map(lambda number: number / 4)


@given(data=st.data(), method=st.sampled_from(["linear", "task-arithmetic", "ties"]), normalize=st.booleans())
@settings(max_examples=150)
def test_it_comes_to_the_formulas(data: st.DataObject, method: MergeMethod, normalize: bool) -> None:
    size, count = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 4))
    rows = [data.draw(st.lists(SIXTEENTHS, min_size=size, max_size=size)) for _ in range(count + 1)]
    asked = MergeSettings(
        method=method,
        weights=data.draw(st.lists(WEIGHTS, min_size=count, max_size=count)),
        densities=data.draw(st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.9, 1.0]), min_size=count, max_size=count)),
        normalize=normalize,
        scale=data.draw(st.sampled_from([1.0, 0.5, 1.5])),
    )
    base, *models = (torch.tensor(row) for row in rows)
    found = merge_tensors("w", None if method == "linear" else base, models, asked)
    expected = merged_by_hand(rows[0], rows[1:], asked)
    torch.testing.assert_close(found.double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_a_worked_example_of_ties() -> None:
    """Four entries: all agree; two against one; a draw, which is plus; one alone."""
    base = torch.zeros(4)
    models = [torch.tensor(row) for row in ([3.0, 2.0, 1.0, 0.0], [1.0, -4.0, -1.0, 0.0], [2.0, 1.0, 0.0, -2.0])]
    asked = wanted("ties", weights=(1.0, 1.0, 1.0))
    assert merge_tensors("w", base, models, asked).tolist() == [2.0, -4.0, 1.0, -2.0]
    # with the half of each that is largest, 2 of 4: [3, 2, ., .], [1, -4, ., .], [2, ., ., -2]
    half = wanted("ties", weights=(1.0, 1.0, 1.0), densities=(0.5, 0.5, 0.5))
    assert merge_tensors("w", base, models, half).tolist() == [2.0, -4.0, 0.0, -2.0]
    heavy = wanted("ties", weights=(3.0, 1.0, 1.0))  # 6 + 1 against 4
    assert merge_tensors("w", base, models, heavy)[1].item() == pytest.approx((3 * 2 + 1) / 4)


# ---- trimming and dropping -------------------------------------------------------------------------------------------


def test_of_equal_magnitudes_the_earlier_are_kept() -> None:
    change = torch.tensor([[1.0, -2.0, 2.0], [-2.0, 2.0, 0.5]])
    assert trimmed(change, 0.5).tolist() == [[0.0, -2.0, 2.0], [-2.0, 0.0, 0.0]]
    assert trimmed(change, 0.01).tolist() == [[0.0, -2.0, 0.0], [0.0, 0.0, 0.0]]  # one at least
    assert trimmed(change, 1.0).tolist() == change.tolist()


def test_a_change_that_is_mostly_nothing_stays_whole() -> None:
    """As of a model whose embedding was frozen: the smallest of the largest is 0."""
    change = torch.tensor([0.0, 0.0, 3.0, 0.0, -1.0, 0.0])
    assert trimmed(change, 0.5).tolist() == change.tolist()
    assert trimmed(torch.zeros(5), 0.2).tolist() == [0.0] * 5


@pytest.mark.parametrize("density", [0.1, 0.5, 0.9])
def test_what_is_not_dropped_is_rescaled_and_the_mean_stays(density: float) -> None:
    change = torch.linspace(-2.0, 3.0, 40_000).view(200, 200)
    found = dropped(change, density, 5)
    kept = found != 0
    assert torch.equal(found[kept], (change / density)[kept])
    spread = math.sqrt(density * (1 - density) / change.numel())
    assert float(kept.float().mean()) == pytest.approx(density, abs=5 * spread)
    # the mean of the error is 0 with variance c^2 (1 - p) / p an entry (Yu et al., section 3.2)
    error = math.sqrt(float((change**2).mean()) * (1 - density) / density / change.numel())
    assert float(found.mean() - change.mean()) == pytest.approx(0.0, abs=5 * error)
    variance = float((change**2).mean()) / density - float(change.mean()) ** 2
    assert float(found.var()) == pytest.approx(variance, rel=0.1)


def test_entries_are_dropped_apart_from_each_other() -> None:
    """Rows, columns and neighbours: no pattern in what is kept."""
    kept = (dropped(torch.ones(400, 400), 0.5, 1) != 0).float() - 0.5
    for shifted in (kept.roll(1, 0), kept.roll(1, 1)):
        assert abs(float((kept * shifted).mean())) < 5 * 0.25 / 400
    assert float(kept.mean(0).abs().max()) < 6 * 0.5 / 20


def test_the_same_is_dropped_however_much_is_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    change = torch.ones(1001)
    whole = dropped(change, 0.3, 9)
    monkeypatch.setattr(merge_methods, "_DRAWN_AT_ONCE", 64)
    assert torch.equal(dropped(change, 0.3, 9), whole)
    assert not torch.equal(dropped(change, 0.3, 10), whole)
    assert whole.nonzero().flatten()[:6].tolist() == [1, 8, 11, 12, 18, 20]  # for ever: what was made can be made again


def test_chance_is_another_for_each_model_and_tensor_and_follows_the_seed() -> None:
    base, model = torch.zeros(4000), torch.ones(4000)
    both = wanted("dare", weights=(1.0, 1.0), densities=(0.5, 0.5), normalize=False, seed=3)
    found = merge_tensors("w", base, [model, model], both)
    counts = [int((found == value).sum()) for value in (0.0, 2.0, 4.0)]
    assert sum(counts) == 4000  # dropped in both, in one, in none
    assert [count / 4000 for count in counts] == pytest.approx([0.25, 0.5, 0.25], abs=0.04)
    assert torch.equal(merge_tensors("w", base, [model, model], both), found)
    assert not torch.equal(merge_tensors("v", base, [model, model], both), found)
    assert not torch.equal(merge_tensors("w", base, [model, model], both.model_copy(update={"seed": 4})), found)


def test_dare_ties_elects_among_what_was_not_dropped() -> None:
    torch.manual_seed(0)
    base, models = torch.randn(300), [torch.randn(300) for _ in range(3)]
    asked = wanted("dare-ties", densities=(0.5, 0.6, 0.7), normalize=True, scale=0.5, seed=8)
    alone = wanted("dare", weights=(1.0,), densities=(1.0,), normalize=False)
    kept = []
    for place, (model, density) in enumerate(zip(models, asked.densities, strict=True)):
        seed = derive_seed(8, "w", place)
        kept.append(dropped(model - base, density, seed).double().tolist())
    merged = elected_by_hand(kept, asked.weights, is_mean=True)
    expected = base.double() + 0.5 * torch.tensor(merged, dtype=torch.float64)
    torch.testing.assert_close(merge_tensors("w", base, models, asked).double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(merge_tensors("w", base, models[:1], alone), models[0])  # nothing dropped: the model


# ---- number formats and edges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_merged_in_float32(method: MergeMethod, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    base = torch.randn(64, 8).to(dtype)
    models = [(base + 0.01 * torch.randn(64, 8)).to(dtype) for _ in range(3)]
    asked = wanted(method, densities=(0.5, 0.5, 0.5), seed=2)
    start = None if method == "linear" else base
    found = merge_tensors("w", start, models, asked)
    wide = merge_tensors("w", None if start is None else start.float(), [one.float() for one in models], asked)
    assert found.dtype == torch.float32
    assert torch.equal(found, wide)
    assert not torch.equal(found, found.to(dtype).float())  # it was not rounded on the way


@pytest.mark.parametrize("method", [method for method in METHODS if method != "linear"])
def test_models_that_learnt_nothing_leave_the_base_as_it_is(method: MergeMethod) -> None:
    base = torch.randn(50)
    asked = wanted(method, densities=(0.4, 0.4, 0.4), normalize=True)
    assert torch.equal(merge_tensors("w", base, [base.clone() for _ in range(3)], asked), base)


def test_inputs_are_not_changed() -> None:
    base, models = torch.randn(40), [torch.randn(40) for _ in range(3)]
    before = [one.clone() for one in (base, *models)]
    for method in METHODS:
        asked = wanted(method, densities=(0.5, 0.5, 0.5))
        merge_tensors("w", None if method == "linear" else base, models, asked)
    assert all(torch.equal(one, old) for one, old in zip((base, *models), before, strict=True))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0)])
def test_tensors_of_any_shape(shape: tuple[int, ...]) -> None:
    base, model = torch.zeros(shape), torch.ones(shape)
    for method in METHODS:
        asked = wanted(method, weights=(1.0, 1.0), densities=(0.5, 0.5), normalize=True)
        found = merge_tensors("w", None if method == "linear" else base, [model, model], asked)
        assert found.shape == shape


def test_only_the_mean_has_no_base() -> None:
    one = [torch.ones(2)] * 3
    with pytest.raises(ValueError, match="every method but linear"):
        merge_tensors("w", torch.ones(2), one, wanted("linear"))
    with pytest.raises(ValueError, match="every method but linear"):
        merge_tensors("w", None, one, wanted("ties"))


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("ties", {"densities": (1.0, 1.0)}, "as many densities"),
        ("ties", {"densities": (1.0, 0.0, 1.0)}, "more than 0 and at most 1"),
        ("dare", {"densities": (1.0, 1.1, 1.0)}, "more than 0 and at most 1"),
        ("dare-ties", {"weights": (0.5, -0.1, 1.0)}, "vote on a sign"),
        ("linear", {"weights": (0.5, -0.25, -0.25)}, "normalize = false"),
        ("linear", {"weights": ()}, "at least 1"),
    ],
)
def test_what_cannot_be_computed_is_refused(method: MergeMethod, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wanted(method, **changes)


def test_weights_may_take_a_change_away() -> None:
    base, model = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 1.0])
    asked = wanted("task-arithmetic", weights=(-0.5,), densities=(1.0,), normalize=False)
    assert merge_tensors("w", base, [model], asked).tolist() == [0.0, 2.5]


def test_a_sign_needs_a_vote() -> None:
    """Where all entries are 0 nothing is divided by nothing."""
    changes = [torch.tensor([0.0, 1.0]), torch.tensor([0.0, -3.0])]
    found = elected_mean(changes, wanted("ties", weights=(1.0, 2.0), densities=(1.0, 1.0)))
    assert found.tolist() == [0.0, -3.0]
