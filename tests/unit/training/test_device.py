from __future__ import annotations

import gc
import platform
import subprocess
import sys
import weakref

import pytest
import torch

from spiritsafe.training import device as memory
from spiritsafe.training.device import give_back_memory, kept_memory

PROGRAM = """
import resource
import torch
from spiritsafe.training.device import kept_memory

def page_faults_of_a_second_allocation():
    torch.ones(16 << 20)  # 64 MiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with kept_memory() as kept:
    page_faults_of_a_second_allocation()  # whatever torch sets up once lies in the heap from here on
    inside = page_faults_of_a_second_allocation()
print(int(kept), inside, page_faults_of_a_second_allocation())
"""


def test_freed_memory_is_reused_inside_and_returned_after() -> None:
    # A process of its own: a heap that other tests have used may hold a free block that needs no new pages.
    out = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    kept, inside, after = map(int, out.split())
    assert bool(kept) == (platform.libc_ver()[0] == "glibc")
    if kept:
        # 64 MiB are 16384 small pages, or 32 large ones where the system hands those out
        assert after >= inside + 16


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("musl", "1"))
    with kept_memory() as kept:
        assert not kept


def test_models_that_refer_to_each_other_are_given_back() -> None:
    gc.disable()
    try:
        one, other = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        one.partner, other.partner = [other], [one]
        seen = weakref.ref(one)
        del one, other
        assert seen() is not None
        give_back_memory()
        assert seen() is None
    finally:
        gc.enable()
