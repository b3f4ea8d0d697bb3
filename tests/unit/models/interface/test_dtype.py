from __future__ import annotations

from pathlib import Path

import pytest
import torch

from spiritsafe.core.errors import RecipeError
from spiritsafe.models.interface import dtype as engine_dtype
from spiritsafe.models.interface.dtype import cpu_has_bfloat16, has_float64, preferred_dtype


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor : 0\nflags\t\t: fpu sse avx2 avx512_bf16 amx_tile\n", True),
        ("flags : fpu amx_bf16\n", True),
        ("Features : fp asimd bf16\n", True),
        ("flags : fpu sse avx2 avx512f\n", False),
        ("model name : amx_bf16\n", False),
    ],
)
def test_flags(text: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert cpu_has_bfloat16(tmp_path / "cpuinfo") is expected
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)  # ONEDNN_MAX_CPU_ISA=AVX2
    assert not cpu_has_bfloat16(tmp_path / "cpuinfo")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not cpu_has_bfloat16(tmp_path / "cpuinfo")


def test_unknown_systems_have_none(tmp_path: Path) -> None:
    assert not cpu_has_bfloat16(tmp_path / "absent")


def test_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPIRITSAFE_BF16", raising=False)
    monkeypatch.setattr(engine_dtype, "cpu_has_bfloat16", lambda: True)
    assert preferred_dtype("cpu") == torch.bfloat16
    monkeypatch.setattr(engine_dtype, "cpu_has_bfloat16", lambda: False)
    assert preferred_dtype("cpu") == torch.float32
    assert preferred_dtype("cuda:1") == torch.bfloat16
    assert preferred_dtype("mps") == torch.float32


@pytest.mark.parametrize("has", [True, False])
def test_a_user_may_say_it_for_a_cpu(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    monkeypatch.setattr(engine_dtype, "cpu_has_bfloat16", lambda: has)
    monkeypatch.setenv("SPIRITSAFE_BF16", "on")
    assert preferred_dtype("cpu") == torch.bfloat16
    monkeypatch.setenv("SPIRITSAFE_BF16", "off")
    assert preferred_dtype("cpu") == torch.float32
    assert preferred_dtype("cuda") == torch.bfloat16
    monkeypatch.setenv("SPIRITSAFE_BF16", "yes")
    with pytest.raises(RecipeError, match="SPIRITSAFE_BF16 is 'yes'"):
        preferred_dtype("cpu")


def test_an_apple_gpu_has_no_float64_and_computes_in_float32() -> None:
    assert not has_float64("mps")
    assert has_float64("cpu")
    assert has_float64(torch.device("cuda", 1))
    assert preferred_dtype("mps") == torch.float32
