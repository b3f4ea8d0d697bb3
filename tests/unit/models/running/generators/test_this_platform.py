from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from types import SimpleNamespace

import pytest
import torch

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.process.platforms import Platform, other_text
from spiritsafe.models.running.generators import this_platform as module
from spiritsafe.models.running.generators.this_platform import this_platform

PROGRAM = """
import json
from spiritsafe.models.interface.dtype import preferred_dtype
from spiritsafe.models.running.generators.this_platform import this_platform
print(json.dumps(this_platform("cpu", preferred_dtype("cpu")).to_json()))
"""


def in_a_child(**environment: str) -> Platform:
    """What a process of its own says: the libraries look at these variables once, when they start."""
    kept = {name: value for name, value in os.environ.items() if name not in (*module._LIMITS, "ATEN_CPU_CAPABILITY")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=kept | environment, check=True
    )
    return Platform.from_json(json.loads(done.stdout))


def test_it_says_what_decides_the_last_bits() -> None:
    here = this_platform("cpu", torch.bfloat16)
    assert (here.device, here.compute_dtype, here.torch) == ("cpu", "bfloat16", torch.__version__)
    assert here.threads == torch.get_num_threads()
    assert here.processor
    assert here.instructions.startswith(torch.backends.cpu.get_cpu_capability())
    assert this_platform("cpu").compute_dtype == ""


def test_who_has_no_compiled_loops_computes_other_last_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    with_loops = this_platform("cpu")
    monkeypatch.setattr(module, "can_loop", lambda: False)
    assert other_text([with_loops], this_platform("cpu"), what="It") is not None


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the variables are those of x86")
def test_a_processor_that_is_held_back_is_another_one() -> None:
    held_back = in_a_child(ONEDNN_MAX_CPU_ISA="AVX2", ATEN_CPU_CAPABILITY="avx2", SPIRITSAFE_BF16="off")
    assert held_back.instructions == f"AVX2 numba {version('numba')} ONEDNN_MAX_CPU_ISA=AVX2"
    here = in_a_child(SPIRITSAFE_BF16="off")
    assert here.instructions != held_back.instructions
    said = other_text([here], held_back, what="It")
    assert said is not None
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in said


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the variables are those of x86")
def test_auto_follows_what_torch_may_use() -> None:
    environment = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    held_back = in_a_child(**environment, SPIRITSAFE_BF16="")
    assert held_back.compute_dtype == "float32"
    with pytest.raises(CompatibilityError, match="begun in bfloat16"):
        other_text([in_a_child(SPIRITSAFE_BF16="on")], held_back, what="It")
    assert in_a_child(**environment, SPIRITSAFE_BF16="on").compute_dtype == "bfloat16"


def test_a_gpu_is_named_and_the_processor_beside_it_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(get_device_capability=lambda device: (9, 0), get_device_name=lambda device: "NVIDIA H100")
    monkeypatch.setattr(torch, "cuda", cuda)
    there = this_platform("cuda:0", torch.bfloat16)
    assert (there.device, there.processor, there.threads) == ("NVIDIA H100", "", 0)
    assert there.text() == f"NVIDIA H100, compute capability 9.0, torch {torch.__version__}, bfloat16"


def test_where_nothing_describes_the_processor_its_architecture_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr(module, "_CPUINFO", SimpleNamespace(is_file=lambda: False))
    assert this_platform("cpu").processor == (platform.processor() or platform.machine())
