from __future__ import annotations

import signal

import pytest

from spiritsafe.core.process import torchrun
from spiritsafe.core.process.torchrun import is_follower, is_under_torchrun, linger, without_torchrun


def test_the_first_process_speaks_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")  # another launcher's, or a shell's
    assert not is_under_torchrun()
    assert not is_follower()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert is_follower()
    monkeypatch.setenv("RANK", "0")
    assert is_under_torchrun()
    assert not is_follower()


def test_a_child_is_no_part_of_the_group() -> None:
    given = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_PORT": "1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    assert without_torchrun({**given, "PATH": "/bin", "TORCH_HOME": "/t"}) == {"PATH": "/bin", "TORCH_HOME": "/t"}


def test_a_process_that_lingers_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(torchrun.time, "sleep", slept.append)
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        linger()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
    assert slept == [60.0]
