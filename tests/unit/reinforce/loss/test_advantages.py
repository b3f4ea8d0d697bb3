from __future__ import annotations

import math

import pytest

from spiritsafe.reinforce.loss.advantages import aggregation_weights, group_advantages, overlong_penalty

ROOT_3 = math.sqrt(3.0)


def test_the_mean_of_the_group_is_the_baseline() -> None:
    assert group_advantages([[1.0, 0.0, 0.0, 0.0], [2.0, 4.0]]) == [[0.75, -0.25, -0.25, -0.25], [-1.0, 1.0]]


def test_leaving_one_out_compares_with_the_others() -> None:
    # 1 against the mean of (0, 0.5, 0.5) = 1/3; 0 against that of (1, 0.5, 0.5) = 2/3; 0.5 against that of (1, 0, 0.5)
    (found,) = group_advantages([[1.0, 0.0, 0.5, 0.5]], baseline="leave_one_out")
    assert found == pytest.approx([2 / 3, -2 / 3, 0.0, 0.0])


def test_without_baseline_the_reward_itself_is_the_advantage() -> None:
    assert group_advantages([[1.0, 0.0], [1.0, 1.0]], baseline="none") == [[1.0, 0.0], [1.0, 1.0]]


def test_scaling_by_group_divides_by_its_own_deviation() -> None:
    # mean 1/4; squared deviations 9/16 + 3/16 = 3/4; over n - 1 = 3: variance 1/4, deviation 1/2
    first, second = group_advantages([[1.0, 0.0, 0.0, 0.0], [0.0, 6.0]], scale="group")
    assert first == pytest.approx([0.75 / 0.5001, *[-0.25 / 0.5001] * 3], rel=1e-12)
    assert second == pytest.approx([-3 / (math.sqrt(18) + 1e-4), 3 / (math.sqrt(18) + 1e-4)], rel=1e-12)


def test_scaling_by_batch_divides_all_by_one_deviation() -> None:
    # all rewards 0, 0, 2, 2: mean 1, squared deviations 4, over 3
    first, second = group_advantages([[0.0, 2.0], [2.0, 0.0]], scale="batch")
    assert first == pytest.approx([-1 / (2 / ROOT_3 + 1e-4), 1 / (2 / ROOT_3 + 1e-4)], rel=1e-12)
    assert second == first[::-1]


@pytest.mark.parametrize("baseline", ["mean", "leave_one_out"])
@pytest.mark.parametrize("scale", ["none", "group", "batch"])
@pytest.mark.parametrize("group", [[], [0.7], [0.1] * 3, [1 / 3] * 7])
def test_a_group_without_differences_has_exact_zeros(baseline: str, scale: str, group: list[float]) -> None:
    # the mean of three times 0.1 is not 0.1 in floating point
    found = group_advantages([group, [0.0, 1.0]], baseline=baseline, scale=scale)  # type: ignore[arg-type]
    assert found[0] == [0.0] * len(group)
    assert 0.0 not in found[1]


def test_a_reward_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        group_advantages([[1.0, math.nan]])


def test_weights_make_the_trainers_mean_the_mean_that_is_wanted() -> None:
    losses = [[1.0, 3.0, 8.0], [10.0]]
    lengths = [3, 1]

    def mean(weights: list[float]) -> float:
        return sum(w * sum(own) for w, own in zip(weights, losses, strict=True)) / sum(lengths)

    assert mean(aggregation_weights(lengths, "token", max_tokens=5)) == pytest.approx(22 / 4)  # over four tokens
    assert mean(aggregation_weights(lengths, "sequence", max_tokens=5)) == pytest.approx((4 + 10) / 2)
    assert mean(aggregation_weights(lengths, "constant", max_tokens=5)) == pytest.approx(22 / (2 * 5))


@pytest.mark.parametrize("lengths", [[3, 0], [3, 6]])
def test_impossible_lengths_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="from 1 to max_tokens = 5"):
        aggregation_weights(lengths, "token", max_tokens=5)


def test_the_overlong_penalty_is_a_ramp() -> None:
    found = [overlong_penalty(n, limit=100, buffer=20) for n in (0, 79, 80, 81, 90, 99, 100, 101, 500)]
    assert found == pytest.approx([0, 0, 0, -0.05, -0.5, -0.95, -1.0, -1.0, -1.0])
    assert [overlong_penalty(n, limit=100, buffer=0) for n in (100, 101)] == [0.0, -1.0]


@pytest.mark.parametrize("buffer", [-1, 101])
def test_a_buffer_beyond_the_limit_is_refused(buffer: int) -> None:
    with pytest.raises(ValueError, match="from 0 to limit"):
        overlong_penalty(5, limit=100, buffer=buffer)
