"""How the threads of OpenMP wait for each other, so that training survives a busy machine.

In: this process's environment, before torch is loaded. Out: settings in it that a user did not make. Every product of
matrices ends in a barrier. By default a thread that is done spins there for as long as its partner takes, and where
another program shares the processor it is that partner's time which is spun away. A short spin covers the pause between
two products; after it the thread sleeps, and the processor is free for whoever has work.
"""

from __future__ import annotations

import os

_SETTINGS = {
    "GOMP_SPINCOUNT": "10000",  # of GNU's library, which torch brings on Linux: some 0.1 ms
    "KMP_BLOCKTIME": "0",  # of LLVM's and Intel's, in milliseconds; theirs is 200
}
_ANSWERED_BY = ("OMP_WAIT_POLICY", *_SETTINGS)


def wait_asleep() -> None:
    """Let waiting threads sleep soon; a user's own settings stay. Of no effect once torch is loaded."""
    if not any(name in os.environ for name in _ANSWERED_BY):
        os.environ.update(_SETTINGS)
