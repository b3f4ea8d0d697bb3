"""Threads that wait sleep soon, unless a user says otherwise."""

import os
import subprocess
import sys

import pytest

from spiritsafe.core.process.waiting_threads import wait_asleep

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that what is set in a test is undone
        monkeypatch.delenv(name)


def test_waiting_threads_sleep_soon(unset: None) -> None:
    wait_asleep()
    assert os.environ["GOMP_SPINCOUNT"] == "10000"
    assert os.environ["KMP_BLOCKTIME"] == "0"


@pytest.mark.parametrize("name", NAMES)
def test_what_a_user_set_stays_and_nothing_is_set_beside_it(
    unset: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "7")
    wait_asleep()
    assert {one: os.environ.get(one) for one in NAMES} == {one: "7" if one == name else None for one in NAMES}


def test_the_library_that_torch_loads_hears_of_it() -> None:
    """OpenMP itself says with what it begins."""
    program = "from spiritsafe.core.process.waiting_threads import wait_asleep; wait_asleep(); import torch"
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        check=True,
    )
    if "GOMP_" not in done.stderr and "KMP_" not in done.stderr:
        pytest.skip("this torch brings an OpenMP that does not tell its settings")
    assert "GOMP_SPINCOUNT = '10000'" in done.stderr or "KMP_BLOCKTIME='0'" in done.stderr.replace(" ", "")
