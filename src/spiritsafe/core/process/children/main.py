"""The child process that runs other people's code: ``python -m spiritsafe.core.process.children.main``.

Protocol, one JSON object a line. In: ``{"load": key, "module": m, "attribute": a, "arguments": {…}}`` builds a handler;
``{"call": key, "payload": {…}, "cpu_s": n, "wall_s": x}`` calls it. Out: ``{"value": …}`` or ``{"raised": "…"}``.

Before each call the limit on CPU seconds is set to what was used so far plus ``cpu_s``: the kernel kills a busy loop
even inside C code, and a crowded machine fails nobody. Memory is limited once, at the start (``argv[1]``, bytes).
Whatever a library prints goes to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from spiritsafe.core.process.limits import limit_cpu, limit_memory


def _answer(handlers: dict[str, Callable[[Any], Any]], request: dict[str, Any]) -> dict[str, Any]:
    try:
        if "load" in request:
            factory = getattr(importlib.import_module(request["module"]), request["attribute"])
            handlers[request["load"]] = factory(**request["arguments"])
            return {"value": None}
        limit_cpu(int(request["cpu_s"]))
        # the parent kills a child that sleeps too long; this ends one whose parent is gone
        signal.setitimer(signal.ITIMER_REAL, request["wall_s"] + 5.0)
        return {"value": handlers[request["call"]](request["payload"])}
    except MemoryError:
        return {"raised": "MemoryError: the memory limit was reached", "leave": True}
    except Exception as error:  # noqa: BLE001  the boundary of the child: the parent decides what a failure means
        return {"raised": f"{type(error).__name__}: {error}"[:500]}


def main() -> None:
    """Serve requests until stdin closes."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    limit_memory(int(sys.argv[1]))
    handlers: dict[str, Callable[[Any], Any]] = {}
    for line in sys.stdin:
        reply = _answer(handlers, json.loads(line))
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
        if reply.get("leave"):
            return


if __name__ == "__main__":
    main()
