"""Stopping: a sitting at an endpoint lets what is under way arrive, a run finishes the file that it is writing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from spiritsafe import rollouts
from spiritsafe.core.generator import Generator
from spiritsafe.core.process.torchrun import is_under_torchrun

_WORDS = (
    "\nStopping: no new question is sent; waiting for the answers that are under way. Ctrl-C again ends at once and "
    "loses them.\n"
)

_BY_TORCHRUN = (
    "torchrun has stopped this run: it was told to, or another process of it ended before the others (torchrun says "
    "below which one, and how)."
)


@contextmanager
def let_arrive(generator: Generator) -> Iterator[None]:
    """While the block runs, SIGINT, SIGTERM and SIGHUP stop an endpoint's questions and keep the answers under way.

    A second SIGINT raises KeyboardInterrupt. Local weights lose nothing at any end, so for them nothing is changed.
    """
    if not isinstance(generator, rollouts.RemoteGenerator):
        yield
        return
    seen: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        seen.append(number)  # before anything else: the next signal may come in the middle of this
        if len(seen) > 1:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        generator.stop()
        with suppress(OSError):  # the terminal is gone
            os.write(2, _WORDS.encode())  # not print: the signal may have come in the middle of one

    signals = [signal.SIGINT, signal.SIGTERM]
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:  # else the terminal may go (nohup)
        signals.append(hang_up)
    before = {number: signal.signal(number, on_signal) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def term_as_interrupt() -> Iterator[None]:
    """While the block runs, the first SIGTERM ends it as Ctrl-C does: what is being written is finished.

    A second one ends the process at once, which loses what a kill loses.
    """

    def on_signal(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise KeyboardInterrupt(_BY_TORCHRUN if is_under_torchrun() else "")

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
