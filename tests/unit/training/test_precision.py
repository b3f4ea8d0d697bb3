from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.training import precision
from spiritsafe.training.precision import choose_dtype, cpu_multiplies_bfloat16

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    cpu_multiplies_bfloat16.cache_clear()
    yield
    cpu_multiplies_bfloat16.cache_clear()


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("model name\t: x\nflags\t\t: fpu avx2 avx512f\n", torch.float32),
        ("flags\t\t: avx512f avx512_bf16\n", torch.bfloat16),
        ("flags\t\t: amx_bf16 amx_tile\n", torch.bfloat16),
        ("Features\t: fp asimd bf16 i8mm\n", torch.bfloat16),
        ("no flags here\n", torch.float32),
    ],
)
def test_auto_asks_the_processor(
    text: str, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    monkeypatch.setattr(precision, "_CPUINFO", path)
    assert choose_dtype("auto", CPU) == dtype


def test_a_machine_without_cpuinfo_computes_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_CPUINFO", tmp_path / "absent")
    assert choose_dtype("auto", CPU) == torch.float32


def test_an_explicit_wish_is_followed() -> None:
    assert choose_dtype("float32", CPU) == torch.float32
    assert choose_dtype("bfloat16", CPU) == torch.bfloat16


def test_other_devices_are_refused() -> None:
    with pytest.raises(CompatibilityError, match="meta"):
        choose_dtype("auto", torch.device("meta"))
