"""What torchrun tells a process that it starts, read without torch: the command line asks before that is loaded.

In: this process's environment. Out: whether another process speaks for this one, and an environment without torchrun.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping

_NAMES = frozenset(
    {
        *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE"),
        *("ROLE_RANK", "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT"),
    }
)
_PREFIX = "TORCHELASTIC_"
_RUN_ID = "TORCHELASTIC_RUN_ID"
_LINGERS_S = 60.0


def is_under_torchrun() -> bool:
    """Whether torchrun started this process."""
    return _RUN_ID in os.environ


def is_follower() -> bool:
    """Whether torchrun started this process beside a first one, which speaks for all."""
    return is_under_torchrun() and os.environ.get("RANK", "0") != "0"


def num_processes_here() -> int:
    """How many processes of torchrun share this machine; 1 where there is no torchrun."""
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))) if is_under_torchrun() else 1


def without_torchrun(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for a child that is no part of torchrun's group."""
    return {name: value for name, value in environment.items() if name not in _NAMES and not name.startswith(_PREFIX)}


def linger() -> None:
    """Let the first process say why all end: torchrun stops all as soon as one has ended.

    Returns after a minute, if torchrun has not stopped this process by then.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(_LINGERS_S)
