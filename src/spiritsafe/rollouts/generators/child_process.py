"""A child process that is talked to in lines, without ever waiting for it longer than one wants.

In: a command, lines to send. Out: lines received, the end of its stderr, how it ended. Three threads keep the pipes
moving, so neither side can block the other: one writes stdin, one reads stdout, one keeps the tail of stderr.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import IO, final

from spiritsafe.core.process.environment import child_environment

_TAIL_LINES = 20
_TAIL_LINE_BYTES = 500
_MOST_LINE_BYTES = 256 << 20
_EXIT_WAIT_S = 5.0
_TERM_WAIT_S = 2.0


@final
class ChildProcess:
    """A running child in a process group of its own, which sees of the environment what it needs.

    Args:
        command: Program and arguments.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(),
            start_new_session=True,
        )
        self._outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        self._incoming: SimpleQueue[bytes | None] = SimpleQueue()
        self._tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
        pipes = (
            (self._write, self._process.stdin),
            (self._read, self._process.stdout),
            (self._keep_tail, self._process.stderr),
        )
        self._threads = [threading.Thread(target=target, args=(pipe,), daemon=True) for target, pipe in pipes]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """The process id, which is also the process group's."""
        return self._process.pid

    def send(self, line: bytes) -> None:
        """Send a line; never waits. What a dead child does not read is dropped."""
        self._outgoing.put(line)

    def receive(self, timeout_s: float) -> bytes | None:
        """The next line of stdout; None when there will be no more.

        Raises:
            TimeoutError: Nothing came in time.
        """
        try:
            line = self._incoming.get(timeout=timeout_s)
        except Empty:
            raise TimeoutError from None
        if line is None:
            self._incoming.put(None)  # the end stays the end
        return line

    def exit_status(self) -> int | None:
        """How it ended (negative: by that signal); None if it still runs after a moment's wait."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(_EXIT_WAIT_S)
        return None

    def stderr_tail(self) -> str:
        """The last lines of its stderr."""
        self._threads[2].join(1.0)  # a dead child's last words may still be in the pipe
        return "\n".join(line.decode("utf-8", "replace").rstrip() for line in list(self._tail)).strip()

    def stop(self, patience_s: float) -> None:
        """Let it end by itself for ``patience_s``, then end its whole group; give the pipes back."""
        self._outgoing.put(None)
        if not self._has_ended_within(patience_s):
            self._signal(signal.SIGTERM)
            self._has_ended_within(_TERM_WAIT_S)
        self._signal(signal.SIGKILL)  # whatever it started and left behind, too
        self._process.wait()
        for thread in self._threads:
            thread.join(_EXIT_WAIT_S)

    def _has_ended_within(self, seconds: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
            return True
        return False

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # nobody of the group is left
            os.killpg(self._process.pid, number)

    def _write(self, pipe: IO[bytes]) -> None:
        with suppress(OSError, ValueError):  # the child closed its end; whoever reads its stdout learns of that
            while (line := self._outgoing.get()) is not None:
                pipe.write(line)
                pipe.flush()
        with suppress(OSError, ValueError):
            pipe.close()

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            while (line := pipe.readline(_MOST_LINE_BYTES)) and line.endswith(b"\n"):
                self._incoming.put(line)
        self._incoming.put(None)

    def _keep_tail(self, pipe: IO[bytes]) -> None:
        with pipe:
            while line := pipe.readline(_TAIL_LINE_BYTES):
                self._tail.append(line)
