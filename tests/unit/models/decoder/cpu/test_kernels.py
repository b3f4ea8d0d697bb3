from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
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


PROGRAM = """
import hashlib
import numpy as np
import torch
from spiritsafe.models.decoder.cpu import kernels, threads

digest = hashlib.sha256()
draw = torch.Generator().manual_seed(0)
for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
    def numbers(*shape):
        return torch.randn(shape, generator=draw).to(dtype)

    N, S, K, W, T = 3, 6, 2, 40, 300
    view = torch.uint16 if dtype == torch.bfloat16 else torch.float32
    cos, sin, cache = numbers(T, W), numbers(T, W), numbers(2, N, K, T, W)
    qkv, out = numbers(N, (S + 2 * K) * W), numbers(N, S * W)
    floats, norms = np.array([1e-6, 0.3], np.float32), np.full((2, W), 1.1, np.float32)
    slots, positions = torch.arange(N), torch.tensor([5, 290, 77])
    tensors = (cos, sin, slots, positions, cache, qkv, out)
    places = [floats.ctypes.data, norms.ctypes.data, *(one.data_ptr() for one in tensors)]
    threads.run_loop(kernels.attention_loop(name), (0, N, 1, S, K, W, N, T, W, 0, *places))
    update, stream, normed, gated = (numbers(N, width).view(view).numpy() for width in (96, 96, 96, 48))
    kernels.add_and_norm(update, np.float32(0.7), stream, np.full(96, 0.9, np.float32), np.float32(1e-6), normed)
    kernels.gate(normed, gated)
    for found in (out.view(view).numpy(), cache.view(view).numpy(), stream, normed, gated):
        digest.update(found.tobytes())
    if threads.has_bfloat16_products():
        panels, rows = (torch.randn(shape, generator=draw).bfloat16() for shape in ((2, 30, 32, 2), (5, 60)))
        starts, product = torch.randn(64, generator=draw), torch.empty(5, 40, dtype=dtype)
        addresses = [one.data_ptr() for one in (product, rows, panels, starts)]
        threads.run_loop(kernels.product_loop(name), (0, 5, 60, 40, *addresses))
        digest.update(product.view(view).numpy().tobytes())
print(digest.hexdigest())
"""


def test_machine_code_that_was_kept_gives_the_same_bits(tmp_path: Path) -> None:
    """A run that goes on in another process must equal one that was never broken."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}

    def digest() -> str:
        command = [sys.executable, "-c", PROGRAM]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout

    compiled = digest()
    assert any(tmp_path.rglob("*.nbc"))
    assert [digest() for _ in range(2)] == [compiled] * 2
