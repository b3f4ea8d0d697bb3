"""A warm pool of child processes for code that may hang, crash or eat memory.

In: a handler (module, attribute, arguments) and a payload of JSON values. Out: the handler's JSON value, or a
:class:`ChildFailure` that says how it failed. A child that exceeds its limits is killed and replaced; callers in any
thread only ever see the failure.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, final

from spiritsafe.core.process.children.child_process import ChildProcess
from spiritsafe.core.process.environment import child_environment

_STARTUP_S = 180.0
"""Longest that loading a handler may take: importing a large library on a crowded machine."""


@final
@dataclass(frozen=True)
class Handler:
    """What the child runs: ``module.attribute(**arguments)`` is built once a child, then called with payloads."""

    module: str
    attribute: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Identity of the built handler."""
        return json.dumps([self.module, self.attribute, self.arguments], sort_keys=True)


@final
class ChildFailure(Exception):
    """The handler raised, hung or died: a record from another process, which callers turn into a Verdict or an error.

    Attributes:
        kind: "raised" (the handler's own exception), "timeout", or "crashed".
    """

    def __init__(self, kind: Literal["raised", "timeout", "crashed"], reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def grader_environment() -> dict[str, str]:
    """Environment of a child: the same import path, one thread, and hashes that do not vary."""
    return child_environment(
        PYTHONHASHSEED="0",  # families that iterate over sets must give the same problems in every process
        PYTHONPATH=os.pathsep.join(entry for entry in sys.path if entry),
        OMP_NUM_THREADS="1",
        OPENBLAS_NUM_THREADS="1",
    )


@final
class _Child:
    """One process, and which handlers it has built."""

    def __init__(self, memory_bytes: int) -> None:
        self.loaded: set[str] = set()
        command = [sys.executable, "-m", "spiritsafe.core.process.children.main", str(memory_bytes)]
        self._process = ChildProcess(command, env=grader_environment(), keep_stderr=False)

    def ask(self, request: dict[str, Any], wall_s: float) -> dict[str, Any]:
        """One round trip.

        Raises:
            ChildFailure: The child hung past ``wall_s`` or died; it must be discarded.
        """
        deadline = time.monotonic() + wall_s
        try:
            self._process.send(json.dumps(request).encode("utf-8") + b"\n", wall_s)
            line = self._process.receive(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise ChildFailure("timeout", f"no reply within {wall_s:g} s") from None
        if line is None:
            code = self._process.exit_status()
            if code == -signal.SIGXCPU:
                raise ChildFailure("timeout", "the limit on CPU seconds was reached")
            raise ChildFailure("crashed", f"the child process ended with code {code}")
        reply: dict[str, Any] = json.loads(line)
        return reply

    @property
    def has_ended(self) -> bool:
        """It died while nobody asked it anything: a system short of memory ends idle processes too."""
        return self._process.exit_status(0.0) is not None

    def close(self) -> None:
        """Kill the process and whatever it started."""
        self._process.stop(0.0, term_wait_s=0.0)


def _value(reply: dict[str, Any]) -> Any:
    if "raised" in reply:
        raise ChildFailure("raised", str(reply["raised"]))
    return reply["value"]


def _call_inline(handlers: dict[str, Callable[[Any], Any]], handler: Handler, payload: Any) -> Any:
    try:
        if handler.key not in handlers:
            factory = getattr(importlib.import_module(handler.module), handler.attribute)
            handlers[handler.key] = factory(**handler.arguments)
        return handlers[handler.key](payload)
    except MemoryError:
        raise  # concerns the whole process, as in a child
    except Exception as error:
        raise ChildFailure("raised", f"{type(error).__name__}: {error}"[:500]) from error


@final
class ChildPool:
    """Up to ``max_children`` warm children; a call takes an idle one, or starts one, or waits.

    Args:
        max_children: Most processes at once.
        cpu_s: CPU seconds that one call may use; a busy loop is killed by the kernel.
        wall_s: Wall seconds that one call may take; generous, because it only has to catch what sleeps.
        memory_bytes: Address space of a child.
    """

    def __init__(
        self, *, max_children: int = 2, cpu_s: int = 10, wall_s: float = 60.0, memory_bytes: int = 4 << 30
    ) -> None:
        self._cpu_s = cpu_s
        self._wall_s = wall_s
        self._memory_bytes = memory_bytes
        self._slots = threading.BoundedSemaphore(max_children)
        self._idle: list[_Child] = []
        self._lock = threading.Lock()
        self._inline: dict[str, Callable[[Any], Any]] | None = None

    def call(self, handler: Handler, payload: Any, *, cpu_s: int | None = None) -> Any:
        """The handler's value for a payload; ``cpu_s`` lowers the limit for this call.

        Raises:
            ChildFailure: It raised, took too long or died.
        """
        if self._inline is not None:
            return _call_inline(self._inline, handler, payload)
        with self._slots:
            child = self._idle_child(handler) or _Child(self._memory_bytes)
            healthy = False
            try:
                if handler.key not in child.loaded:
                    load = {"load": handler.key, "module": handler.module, "attribute": handler.attribute}
                    _value(child.ask({**load, "arguments": handler.arguments}, _STARTUP_S))
                    child.loaded.add(handler.key)
                limits = {"cpu_s": min(self._cpu_s, cpu_s or self._cpu_s), "wall_s": self._wall_s}
                reply = child.ask({"call": handler.key, "payload": payload, **limits}, self._wall_s)
                healthy = not reply.get("leave")
                return _value(reply)
            finally:
                if healthy:
                    with self._lock:
                        self._idle.append(child)
                else:
                    child.close()

    def _idle_child(self, handler: Handler) -> _Child | None:
        with self._lock:
            ended = [child for child in self._idle if child.has_ended]
            self._idle = [child for child in self._idle if child not in ended]
            ready = [child for child in self._idle if handler.key in child.loaded]
            child = ready[-1] if ready else self._idle[-1] if self._idle else None
            if child:
                self._idle.remove(child)
        for other in ended:
            other.close()
        return child

    def close(self) -> None:
        """End the idle children; a later call starts new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.close()

    def serve_inline(self) -> None:
        """Start no children from here on, but call handlers in this process, without limits."""
        self._inline = {}

    def forget(self) -> None:
        """Drop the children without ending them: they belong to the process that forked this one."""
        self._idle = []
        self._lock = threading.Lock()


_SHARED = ChildPool(max_children=max(1, min(4, os.cpu_count() or 1)))
atexit.register(_SHARED.close)
if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_SHARED.forget)


def shared_pool() -> ChildPool:
    """The pool that all tasks of this process share; children start when first needed and end with the process."""
    return _SHARED


def serve_inline() -> None:
    """Have the shared pool start no children: for a process that is itself limited and killed from outside."""
    _SHARED.serve_inline()
