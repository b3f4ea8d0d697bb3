from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import special, stats

from spiritsafe.core.errors import NumericalError
from spiritsafe.stats import ratio
from spiritsafe.stats.bootstrap import ClusterBootstrap
from spiritsafe.stats.ratio import RATIO_INTERVAL, ratio_interval

Floats = npt.NDArray[np.float64]


def documents(kind: str, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Sums and lengths of documents; lengths are lognormal, with σ = 1 or, for ``heavy``, 0.7."""
    sizes = np.ceil(np.exp(rng.normal(4, 0.7 if kind == "heavy" else 1.0, n)))
    means = {
        "likelihoods": lambda: rng.gamma(4, 0.25, n) * (sizes / 54) ** -0.3,  # long documents are easier
        "differences": lambda: rng.normal(0.05, 0.1, n),
        "heavy": lambda: rng.lognormal(-3, 1, n),
    }[kind]()
    return sizes * means, sizes


def test_bounds_are_the_farther_of_scipys_bca_and_a_jackknife_done_by_hand() -> None:
    rng = np.random.default_rng(4)
    sums, sizes = documents("likelihoods", 25, rng)
    found = ratio_interval(sums, sizes, seed=3, num_draws=40_000, confidence=0.9)

    def statistic(top: Floats, bottom: Floats, axis: int = -1) -> Floats:
        return np.asarray(top.sum(axis) / bottom.sum(axis))

    level = 2 * special.ndtr(math.sqrt(25 / 24) * stats.t.ppf(0.95, 24)) - 1
    bca = stats.bootstrap(
        (sums, sizes), statistic, paired=True, confidence_level=level, n_resamples=40_000, method="BCa", rng=rng
    ).confidence_interval
    without = [np.delete(sums, i).sum() / np.delete(sizes, i).sum() for i in range(25)]
    reach = stats.t.ppf(0.95, 24) * math.sqrt(24 * np.var(without))
    value = sums.sum() / sizes.sum()
    assert found.value == pytest.approx(value)
    assert found.low == pytest.approx(min(bca.low, value - reach), abs=0.01)
    assert found.high == pytest.approx(max(bca.high, value + reach), abs=0.01)
    assert (found.n, found.confidence, found.method) == (25, 0.9, RATIO_INTERVAL)


def test_documents_of_one_size_are_a_plain_mean() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=30)
    plain = ClusterBootstrap(30, seed=5).interval(np.sort(values), most=1e9)
    found = ratio_interval(values * 7.0, [7] * 30, seed=5)
    reach = stats.t.ppf(0.975, 29) * values.std(ddof=1) / math.sqrt(30)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(min(plain.low, values.mean() - reach))
    assert found.high == pytest.approx(max(plain.high, values.mean() + reach))


def test_neither_the_order_of_documents_nor_memory_changes_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    sums, sizes = documents("differences", 40, np.random.default_rng(2))
    found = ratio_interval(sums, sizes)
    shuffled = np.random.default_rng(3).permutation(40)
    assert ratio_interval(sums[shuffled], sizes[shuffled]) == found
    monkeypatch.setattr(ratio, "_BLOCK_VALUES", 999)
    assert ratio_interval(sums, sizes) == found
    assert ratio_interval(sums, sizes, seed=1) != found


def test_units_pass_through() -> None:
    sums, sizes = documents("likelihoods", 12, np.random.default_rng(8))
    nats, bits = ratio_interval(sums, sizes), ratio_interval(sums / math.log(2), sizes)
    assert (bits.value, bits.low, bits.high) == pytest.approx(
        tuple(bound / math.log(2) for bound in (nats.value, nats.low, nats.high))
    )


def test_where_all_have_one_ratio_the_method_says_that_there_is_no_interval() -> None:
    for sums, sizes in (([3.0, 6.0, 15.0], [1, 2, 5]), ([0.0, 0.0], [4, 9])):
        found = ratio_interval(sums, sizes)
        assert found.low == found.value == found.high
        assert found.method.startswith("none")


def test_a_bound_stays_possible_and_holds_the_value() -> None:
    found = ratio_interval([0.0, 0.0, 5.0], [10, 12, 11], least=0.0)
    assert found.low == 0.0 < found.value < found.high
    assert ratio_interval([0.0, 0.0, 5.0], [10, 12, 11]).low < 0.0
    below = ratio_interval([-2e-9, 1e-9, 0.0], [10, 12, 11], least=0.0)
    assert below.low == below.value < 0.0 < below.high


def test_a_document_of_no_size_counts_by_its_sum() -> None:
    """An empty answer has an end token to predict and no byte."""
    found = ratio_interval([1.0, 5.0, 6.0], [0, 5, 5])
    assert found.value == pytest.approx(1.2)
    assert found.n == 3
    assert found.low < 1.2 < found.high


@pytest.mark.parametrize(
    ("sums", "sizes", "why"),
    [
        ([1.0], [2], "1 documents"),
        ([], [], "0 documents"),
        ([1.0, 2.0], [3, 0], "1 documents"),
        ([1.0, 2.0], [3], "do not go"),
        ([1.0, math.nan], [3, 3], "not finite"),
        ([1.0, 2.0], [3, -1], "negative"),
    ],
)
def test_impossible_input_is_refused(sums: list[float], sizes: list[int], why: str) -> None:
    with pytest.raises(NumericalError, match=why):
        ratio_interval(sums, sizes)
    with pytest.raises(NumericalError, match="confidence 1"):
        ratio_interval([1.0, 2.0], [1, 1], confidence=1.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "n", "least"),
    [
        *(("likelihoods", n, 0.92) for n in (5, 12, 50, 200)),
        *(("differences", n, 0.92) for n in (2, 5, 12, 50, 200)),
        *(("heavy", n, least) for n, least in ((5, 0.83), (12, 0.87), (50, 0.90), (200, 0.92))),
    ],
)
def test_it_covers_by_simulation(kind: str, n: int, least: float) -> None:
    """What the docstring says; the allowance for 800 draws is two standard errors of .95."""
    sums, sizes = documents(kind, 2_000_000, np.random.default_rng(99))
    truth = sums.sum() / sizes.sum()
    rng = np.random.default_rng(n)
    hits = 0
    for seed in range(800):
        found = ratio_interval(*documents(kind, n, rng), seed=seed, num_draws=1_000)
        hits += found.low <= truth <= found.high
    assert least - 0.016 <= hits / 800 <= 0.985
