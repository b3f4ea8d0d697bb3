"""A worker's process as an event loop sees it: lines go out without waiting, what comes in is called back.

In: a command, values to send. Out: values that it says, and how it ended. Two threads wait for the pipes, so that the
event loop never does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, final

from spiritsafe.core.process.children.child_process import ChildProcess
from spiritsafe.core.process.json_lines import from_line, to_line
from spiritsafe.core.process.process_tree import descendants

_SEND_S = 86_400.0
"""As good as for ever: one that does not read hangs, and who watches it ends it."""
_TAIL_CHARACTERS = 2000


@final
@dataclass(frozen=True)
class WorkerEnding:
    """How a process ended: "was ended by SIGKILL", what to do, the end of its standard error."""

    how: str
    hint: str
    tail: str


@final
class WorkerProcess:
    """A running worker. Make it in an event loop: it is called back there.

    Args:
        command: Program and arguments.
        hear: Gets what it says, line by line.
        end: Gets how it ended, once, behind all that it said; not after :meth:`stop`.

    Raises:
        OSError: It cannot be started.
        CompatibilityError: This system cannot end what it starts.
    """

    def __init__(
        self, command: Sequence[str], hear: Callable[[Any], None], end: Callable[[WorkerEnding], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._hear = hear
        self._end = end
        self._child = ChildProcess(command)
        self._unsent: SimpleQueue[Any] = SimpleQueue()
        self._is_stopped = False
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._writer.start()
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    def send(self, value: Any) -> None:
        """Say something, in time."""
        self._unsent.put(value)

    def kill(self) -> None:
        """End it at once, with all below it; the end is told as any other."""
        below = descendants(self._child.pid)  # llama.cpp's process leads a group of its own, and may hang itself
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        for facts in below:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(facts.pid, signal.SIGKILL)

    async def stop(self, patience_s: float) -> None:
        """End it: its input ends, then it is told to, then it is killed. Also when who waits for this is cancelled.

        Args:
            patience_s: How long it may take to end by itself.
        """
        self._is_stopped = True
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self._stop, patience_s))

    def _stop(self, patience_s: float) -> None:
        self._unsent.put(None)
        self._writer.join(patience_s)
        if self._writer.is_alive():  # nobody reads what it writes
            self.kill()
            self._writer.join()
        self._child.stop(patience_s)
        self._reader.join()

    # ---- threads

    def _write(self) -> None:
        while (value := self._unsent.get()) is not None:
            try:
                if not self._child.send(to_line(value), _SEND_S):
                    return
            except TimeoutError:
                self.kill()
                return

    def _read(self) -> None:
        nonsense = ""
        while (line := self._child.receive(None)) is not None:
            try:
                value = from_line(line)
            except ValueError:
                nonsense = f"answered nonsense: {line[:80]!r}"
                break
            self._call(self._hear, value)
        if self._is_stopped:
            return
        how, hint = (nonsense, "Check that the command is a spiritsafe worker.") if nonsense else self._child.ending()
        self.kill()
        self._unsent.put(None)
        self._writer.join()
        self._child.stop(0.0)
        self._call(self._end, WorkerEnding(how, hint, self._child.stderr_tail()[-_TAIL_CHARACTERS:]))

    def _call(self, function: Callable[[Any], None], value: Any) -> None:
        with suppress(RuntimeError):  # the event loop has ended
            self._loop.call_soon_threadsafe(function, value)
