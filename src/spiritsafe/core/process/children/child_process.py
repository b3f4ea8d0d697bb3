"""A child process that is talked to in lines, without ever waiting for it longer than one wants.

In: a command, lines to send. Out: lines received, the end of its stderr, how it ended, and an end to everything that it
started. Threads keep reading what it says, so that it never waits for its reader; how much is read ahead is bounded.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, TextIO, final

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.process.environment import child_environment
from spiritsafe.core.process.process_tree import ProcessFacts, descendants

_TAIL_LINES = 20
_TAIL_LINE_BYTES = 500
_MOST_LINE_BYTES = 256 << 20
_MOST_AHEAD_BYTES = 256 << 20
_EXIT_WAIT_S = 5.0
_TERM_WAIT_S = 2.0


def take_stdout() -> TextIO:
    """In the child: the standard output for answers alone; what a library prints goes to standard error from now on."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return answers


@final
class _Lines:
    """Lines that one thread reads and another takes; what is not taken is bounded."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lines: deque[bytes] = deque()
        self._num_bytes = 0
        self._has_ended = self._is_wanted_no_more = False
        self._changed = threading.Condition()

    def read(self, pipe: IO[bytes]) -> None:
        """Read to the end; a line without an end, or longer than one may be, is the end as well."""
        with pipe:
            while (line := pipe.readline(self._most_bytes)).endswith(b"\n"):
                with self._changed:
                    self._changed.wait_for(lambda: self._num_bytes < _MOST_AHEAD_BYTES or self._is_wanted_no_more)
                    if not self._is_wanted_no_more:  # else it is thrown away: its writer shall not wait for us
                        self._lines.append(line)
                        self._num_bytes += len(line)
                    self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def take(self, timeout_s: float | None) -> bytes | None:
        """The oldest one; None when there will be no more.

        Raises:
            TimeoutError: Nothing came in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._lines or self._has_ended, timeout_s):
                raise TimeoutError
            if not self._lines:
                return None
            line = self._lines.popleft()
            self._num_bytes -= len(line)
            self._changed.notify_all()
            return line

    def want_no_more(self) -> None:
        """Throw away what comes from now on."""
        with self._changed:
            self._is_wanted_no_more = True
            self._changed.notify_all()


def _keep_tail(pipe: IO[bytes], tail: deque[bytes]) -> None:
    with pipe:
        while line := pipe.readline(_TAIL_LINE_BYTES):
            tail.append(line)


@final
class ChildProcess:
    """A running child and its pipes. When this process is killed, the child sees its stdin end and should exit.

    Args:
        command: Program and arguments.
        env: What it sees of the environment; what it needs, if nothing is said.
        own_group: It leads a process group and session, which end with it. Without, it hears the terminal's Ctrl-C as
            this process does.
        keep_stderr: Whether the tail of its stderr is wanted; else it goes nowhere.
        most_line_bytes: A longer line ends what is read of it.

    Raises:
        OSError: It cannot be started.
        CompatibilityError: This system cannot end what it starts (Windows).
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        own_group: bool = True,
        keep_stderr: bool = True,
        most_line_bytes: int = _MOST_LINE_BYTES,
    ) -> None:
        if not hasattr(os, "killpg"):
            raise CompatibilityError(
                "This system has no groups of processes, so models, graders and runs cannot be started on it.",
                hint="Use Linux or macOS; on Windows, the Windows Subsystem for Linux. Verifying needs none of this.",
            )
        self._own_group = own_group
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if keep_stderr else subprocess.DEVNULL,
            env=child_environment() if env is None else env,
            start_new_session=own_group,
        )
        self._lines = _Lines(most_line_bytes)
        self._tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._threads = [threading.Thread(target=self._lines.read, args=(self._process.stdout,), daemon=True)]
        if keep_stderr:
            pipe = self._process.stderr
            self._threads.append(threading.Thread(target=_keep_tail, args=(pipe, self._tail), daemon=True))
        for thread in self._threads:
            thread.start()
        self._requests = -1 if self._process.stdin is None else self._process.stdin.fileno()
        os.set_blocking(self._requests, False)

    @property
    def pid(self) -> int:
        """The process id; of one with a group of its own also the process group's."""
        return self._process.pid

    def send(self, line: bytes, timeout_s: float) -> bool:
        """Send a line; False when nobody reads it any more.

        Raises:
            TimeoutError: It was not read in time, or not to its end: the child is of no use any more.
        """
        deadline = time.monotonic() + timeout_s
        unsent = memoryview(line)
        while unsent:
            try:
                unsent = unsent[os.write(self._requests, unsent) :]
            except BlockingIOError:
                room = select.poll()
                room.register(self._requests, select.POLLOUT)
                if not room.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
                    raise TimeoutError from None
            except OSError:
                return False
        return True

    def receive(self, timeout_s: float | None) -> bytes | None:
        """The next line of stdout; None when there will be no more.

        Raises:
            TimeoutError: Nothing came in time.
        """
        return self._lines.take(timeout_s)

    def exit_status(self, wait_s: float | None = _EXIT_WAIT_S) -> int | None:
        """How it ended (negative: by that signal); None if it still runs after a moment's wait."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(wait_s)
        return None

    def ending(self) -> tuple[str, str]:
        """How it ended and what its user may do, for one that says no more: "was ended by SIGSEGV", a hint."""
        code = self.exit_status()
        if code is None:
            return "closed its output", "Look at its last lines."
        if code >= 0:
            return f"ended with exit status {code}", "Look at its last lines."
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        hint = "The machine may be out of memory." if name == "SIGKILL" else "Look at its last lines."
        return f"was ended by {name}", hint

    def stderr_tail(self) -> str:
        """The last lines of its stderr."""
        self._threads[-1].join(1.0)  # a dead child's last words may still be in the pipe
        return "\n".join(line.decode("utf-8", "replace").rstrip() for line in list(self._tail)).strip()

    def stop(self, patience_s: float, *, term_wait_s: float | None = _TERM_WAIT_S) -> None:
        """End it: its stdin ends, then it is told to end, then it is killed with everything below it.

        Args:
            patience_s: How long it may take to end by itself.
            term_wait_s: How long it may take to obey SIGTERM; None: as long as it wants.
        """
        self._lines.want_no_more()
        if self._process.stdin is not None:
            self._process.stdin.close()
        below: list[ProcessFacts] = []  # asked for while it can still be asked
        if self.exit_status(patience_s) is None:
            below = descendants(self.pid) if self._own_group else []
            self._signal(signal.SIGTERM)
        if self.exit_status(term_wait_s) is None:
            below = descendants(self.pid)
            self._signal(signal.SIGKILL)
        for facts in below:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(facts.pid, signal.SIGKILL)
        if self._own_group:
            self._signal(signal.SIGKILL)  # whatever it started and left behind, too
        self._process.wait()
        for thread in self._threads:
            thread.join(_EXIT_WAIT_S)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # nobody of the group is left
            if self._own_group:
                os.killpg(self.pid, number)
            else:
                self._process.send_signal(number)
