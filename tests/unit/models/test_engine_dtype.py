from __future__ import annotations

from pathlib import Path

import pytest
import torch

from spiritsafe.models import engine_dtype
from spiritsafe.models.engine_dtype import cpu_has_bfloat16, preferred_dtype


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
def test_flags(text: str, expected: bool, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_has_bfloat16(tmp_path / "cpuinfo") is expected


def test_unknown_systems_have_none(tmp_path: Path) -> None:
    assert not cpu_has_bfloat16(tmp_path / "absent")


def test_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_dtype, "cpu_has_bfloat16", lambda: True)
    assert preferred_dtype("cpu") == torch.bfloat16
    monkeypatch.setattr(engine_dtype, "cpu_has_bfloat16", lambda: False)
    assert preferred_dtype("cpu") == torch.float32
    assert preferred_dtype("cuda:1") == torch.bfloat16
    assert preferred_dtype("mps") == torch.float32
