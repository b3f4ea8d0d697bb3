from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import pytest
import torch

from spiritsafe.models.decoder.cpu import kernels


@kernels.compiled
def exponentials(numbers: Any, out: Any) -> None:
    for n in range(len(numbers)):
        out[n] = kernels.exponential(numbers[n])


@kernels.compiled
def rounded(numbers: Any, out: Any) -> None:
    for n in range(len(numbers)):
        out[n] = kernels.narrowed(numbers[n], out)


@kernels.compiled
def widened(numbers: Any, out: Any) -> None:
    for n in range(len(numbers)):
        out[n] = kernels.widened(numbers[n])


def test_the_exponential_is_that_of_float64() -> None:
    numbers = np.concatenate((np.linspace(-87, 88, 200_001), [0.0, -1e-30, 1e-30])).astype(np.float32)
    found = np.empty_like(numbers)
    exponentials(numbers, found)
    exact = np.exp(numbers.astype(np.float64))
    assert np.abs(found / exact - 1).max() < 5e-7
    edges = np.array([-np.inf, -1000.0, np.inf, np.nan], np.float32)
    found = np.empty_like(edges)
    exponentials(edges, found)
    assert (found[:2] < 2e-38).all()
    assert found[2] > 1e38
    assert np.isnan(found[3])


def test_bfloat16_is_rounded_as_torch_rounds() -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 32, 200_000, dtype=np.uint32)
    ties = (np.arange(0, 1 << 16, 7, dtype=np.uint32) << 16) | 0x8000
    numbers = np.concatenate((bits, ties)).view(np.float32)
    numbers = numbers[~np.isnan(numbers)]
    found = np.empty(len(numbers), np.uint16)
    rounded(numbers, found)
    expected = torch.from_numpy(numbers).bfloat16()
    assert (found == expected.view(torch.uint16).numpy()).all()
    back = np.empty(len(numbers), np.float32)
    widened(found, back)
    assert (back == expected.float().numpy()).all()


@pytest.mark.parametrize("fails", [False, True])
def test_where_nothing_can_be_written_machine_code_is_not_kept(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    original = numba.njit

    def twice(numbers: Sequence[float]) -> float:
        return numbers[0] * 2

    def njit(*args: Any, cache: bool = False, **options: Any) -> Any:
        def decorate(function: Any) -> Any:
            if function is twice:
                asked.append(cache)
                if cache and fails:
                    raise RuntimeError("cannot cache function: no locator available")
            return original(cache=cache and function is not twice, **options)(function)

        return decorate(args[0]) if args else decorate

    monkeypatch.setattr(numba, "njit", njit)
    assert kernels.compiled(twice)(np.array([3.0])) == 6.0
    assert asked == ([True, False] if fails else [True])
