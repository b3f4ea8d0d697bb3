from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from scipy.stats import chisquare, kstest
from torch import Tensor
from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from spiritsafe.core.records import Sampling
from spiritsafe.core.seeds import derive_seed
from spiritsafe.models.running.engine import sampler
from spiritsafe.models.running.engine.sampler import (
    RowMask,
    RowSampling,
    _nucleus_threshold_by_bisection,
    _nucleus_threshold_by_sorting,
    draw,
    rows_sampling,
    truncate,
    uniforms,
)

DRAWS = 20_000
CASES = {
    "plain": Sampling(),
    "cold": Sampling(temperature=0.6),
    "hot": Sampling(temperature=1.7),
    "top_k": Sampling(top_k=7),
    "top_p": Sampling(top_p=0.7),
    "min_p": Sampling(min_p=0.1),
    "all": Sampling(temperature=0.8, top_k=30, top_p=0.9, min_p=0.02),
}


def random_logits(rows: int, vocab: int, seed: int = 0, spread: float = 2.0) -> Tensor:
    return spread * torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed))


@lru_cache(maxsize=1)
def many_seeds() -> Tensor:
    return torch.tensor([derive_seed("draws", i) for i in range(DRAWS)])


def exact(logits: Tensor, sampling: Sampling) -> Tensor:
    """The distribution by transformers' own processors, in float64."""
    scores = logits.double() / sampling.temperature
    none = torch.zeros(1, 1, dtype=torch.int64)
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(none, scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(none, scores)
    if sampling.min_p:
        scores = MinPLogitsWarper(sampling.min_p)(none, scores)
    return scores.softmax(-1)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("vocab", [60, 300])
def test_draws_follow_the_exact_distribution(name: str, vocab: int) -> None:
    sampling = CASES[name]
    logits = random_logits(1, vocab)
    logits[0, 3] = float("-inf")
    expected = exact(logits, sampling)[0]
    seeds = many_seeds()
    drawn = draw(logits.repeat(DRAWS, 1), seeds, torch.zeros_like(seeds), sampling)
    counts = torch.bincount(drawn.token_ids_B, minlength=vocab)
    assert counts[expected == 0].sum() == 0
    likely = expected * DRAWS >= 5
    found = torch.cat((counts[likely], counts[~likely].sum()[None])).double()
    wanted = torch.cat((expected[likely], expected[~likely].sum()[None])) * DRAWS
    keep = wanted > 0
    assert chisquare(found[keep].numpy(), (wanted[keep] * DRAWS / wanted[keep].sum()).numpy()).pvalue > 0.001


@pytest.mark.parametrize("name", CASES)
def test_truncation_keeps_what_transformers_keeps(name: str) -> None:
    sampling = CASES[name]
    logits = random_logits(50, 1000, seed=1)
    scaled = logits / sampling.temperature
    weights = (scaled - scaled.amax(-1, keepdim=True)).exp()
    assert torch.equal(truncate(weights, RowSampling.uniform(sampling)) > 0, exact(logits, sampling) > 0)


@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("spread", [0.01, 3.0])
def test_both_ways_to_the_nucleus_agree(top_p: float, spread: float) -> None:
    logits = random_logits(20, 700, spread=spread)
    weights = (logits - logits.amax(-1, keepdim=True)).exp()
    needed = weights.sum(-1, keepdim=True, dtype=torch.float64) * top_p
    assert torch.equal(_nucleus_threshold_by_bisection(weights, needed), _nucleus_threshold_by_sorting(weights, needed))


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("truncation", [{}, {"top_p": 0.5}, {"top_k": 2}])
def test_logprobs_are_before_truncation(temperature: float, truncation: dict[str, float]) -> None:
    logits = random_logits(40, 500)
    expected = (logits / (temperature or 1.0)).log_softmax(-1)
    seeds = torch.arange(40)
    sampling = Sampling(temperature=temperature, **truncation)
    drawn = draw(logits.clone(), seeds, seeds, sampling)
    wanted = expected.gather(1, drawn.token_ids_B[:, None]).squeeze(1)
    torch.testing.assert_close(drawn.logprobs_B, wanted, atol=1e-5, rtol=0)
    if temperature == 0:
        assert torch.equal(drawn.token_ids_B, logits.argmax(-1))


def test_greedy_takes_the_first_of_equals() -> None:
    logits = torch.zeros(1, 600)
    logits[0, [130, 400, 599]] = 5.0
    zero = torch.zeros(1, dtype=torch.int64)
    assert draw(logits, zero, zero, Sampling(temperature=0.0)).token_ids_B.item() == 130


def test_a_draw_does_not_depend_on_its_neighbours() -> None:
    logits = random_logits(64, 400)
    seeds, steps = torch.arange(64) * 7919, torch.arange(64) % 5
    together = draw(logits.clone(), seeds, steps, Sampling())
    shuffled = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    moved = draw(logits[shuffled], seeds[shuffled], steps[shuffled], Sampling())
    assert torch.equal(moved.token_ids_B, together.token_ids_B[shuffled])
    for row in range(64):
        alone = draw(logits[row : row + 1].clone(), seeds[row : row + 1], steps[row : row + 1], Sampling())
        assert alone.token_ids_B.item() == together.token_ids_B[row].item()


def test_uniforms_are_splitmix64() -> None:
    """Against Python integers."""
    mask = (1 << 64) - 1

    def mix(bits: int) -> int:
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & mask
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & mask
        return bits ^ (bits >> 31)

    gamma = 0x9E3779B97F4A7C15
    seeds, steps = [0, 1, 2**52 - 1, 123456789], [0, 3, 1000, 7]
    expected = [
        (mix((mix((s + gamma) & mask) + (t + 1) * gamma) & mask) >> 11) / 2**53
        for s, t in zip(seeds, steps, strict=True)
    ]
    assert uniforms(torch.tensor(seeds), torch.tensor(steps)).tolist() == expected


def test_uniforms_are_uniform_along_seeds_and_steps() -> None:
    numbers = torch.arange(DRAWS)
    along_seeds = uniforms(numbers, torch.zeros_like(numbers))
    along_steps = uniforms(torch.full_like(numbers, 42), numbers)
    for values in (along_seeds, along_steps):
        assert kstest(values.numpy(), "uniform").pvalue > 0.001
        assert abs(torch.corrcoef(torch.stack((values[1:], values[:-1])))[0, 1]) < 0.03
        assert values.unique().numel() == DRAWS


def test_the_ends_of_the_unit_interval_never_pick_a_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.full((2, 700), float("-inf"))
    logits[:, 300] = logits[:, 310] = 0.0
    ends = torch.tensor([0.0, 1.0 - 2**-53], dtype=torch.float64)
    monkeypatch.setattr("spiritsafe.models.running.engine.sampler.uniforms", lambda seeds, steps: ends)
    zero = torch.zeros(2, dtype=torch.int64)
    assert draw(logits, zero, zero, Sampling()).token_ids_B.tolist() == [300, 310]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.0), Sampling(top_p=0.5, min_p=0.1)])
def test_broken_logits_are_flagged(bad: float, sampling: Sampling) -> None:
    logits = random_logits(3, 300)
    logits[1, 17] = bad
    zero = torch.zeros(3, dtype=torch.int64)
    drawn = draw(logits, zero, zero, sampling)
    assert drawn.broken_B.tolist() == [False, True, False]
    assert drawn.token_ids_B.min() >= 0
    assert drawn.token_ids_B.max() < 512


def test_where_there_is_no_float64_the_cpu_draws_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an Apple GPU, whose first answer is no and whose CPU's is yes."""
    logits, seeds, steps = torch.randn(5, 700), torch.arange(5), torch.zeros(5, dtype=torch.int64)
    expected = draw(logits.clone(), seeds, steps, Sampling(top_p=0.9))
    answers = iter([False, True])
    monkeypatch.setattr(sampler, "has_float64", lambda device: next(answers))
    found = draw(logits.clone(), seeds, steps, Sampling(top_p=0.9))
    assert next(answers, None) is None
    for name in ("token_ids_B", "logprobs_B", "broken_B"):
        assert torch.equal(getattr(found, name), getattr(expected, name))


def test_rows_of_many_kinds_are_drawn_as_each_alone() -> None:
    kinds = [*CASES.values(), Sampling(temperature=0.0), Sampling(top_k=2, top_p=0.5), Sampling(min_p=1.0)]
    logits = random_logits(len(kinds), 300, seed=5)
    seeds, steps = torch.arange(len(kinds)) * 7919, torch.arange(len(kinds)) % 3
    columns = {
        "temperature": torch.tensor([[kind.temperature or 1.0] for kind in kinds]),
        "greedy": torch.tensor([kind.temperature == 0.0 for kind in kinds]),
        "top_k": torch.tensor([[kind.top_k or 1 << 40] for kind in kinds]),
        "top_p": torch.tensor([[kind.top_p] for kind in kinds]),
        "min_p": torch.tensor([[kind.min_p] for kind in kinds]),
    }
    drawn = draw(logits.clone(), seeds, steps, rows_sampling(kinds, columns, len(kinds)), num_top=3)
    for row, kind in enumerate(kinds):
        one = slice(row, row + 1)
        alone = draw(logits[one].clone(), seeds[one], steps[one], kind)
        assert drawn.token_ids_B[row] == alone.token_ids_B[0]
        assert drawn.logprobs_B[row].item() == pytest.approx(alone.logprobs_B[0].item(), abs=1e-5)
        expected = (logits[row].double() / (kind.temperature or 1.0)).log_softmax(-1).topk(3)
        assert drawn.top_ids_BK is not None
        assert drawn.top_logprobs_BK is not None
        assert drawn.top_ids_BK[row].tolist() == expected.indices.tolist()
        assert drawn.top_logprobs_BK[row].tolist() == pytest.approx(expected.values.tolist(), abs=1e-5)


@pytest.mark.parametrize("how", [Sampling(), Sampling(temperature=0.0), Sampling(top_p=0.5, top_k=4)])
def test_a_mask_leaves_other_rows_alone_and_tells_the_models_own_probabilities(how: Sampling) -> None:
    logits = random_logits(3, 300, seed=8)
    logits[1, 7] = -500.0  # as unlikely as can be, and the only token that is allowed
    allowed = torch.zeros(1, 300, dtype=torch.bool)
    allowed[0, 7] = True
    seeds, steps = torch.arange(3), torch.zeros(3, dtype=torch.int64)
    free = draw(logits.clone(), seeds, steps, how)
    drawn = draw(logits.clone(), seeds, steps, how, mask=RowMask(torch.tensor([1]), allowed))
    assert drawn.token_ids_B[[0, 2]].tolist() == free.token_ids_B[[0, 2]].tolist()
    assert drawn.token_ids_B[1] == 7
    expected = (logits[1] / (how.temperature or 1.0)).log_softmax(-1)[7].item()
    assert drawn.logprobs_B[1].item() == pytest.approx(expected, abs=1e-3)
