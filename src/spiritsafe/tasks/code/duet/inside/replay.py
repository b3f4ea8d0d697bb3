"""Calls of programs' functions, each program in a process of its own; what they give, as digests.

In: ``job.json``: texts of programs, calls, how long each program may compute. Out: for each program a line of JSON: a
digest for each call, as far as they came; behind an exclamation mark, that of an error. The first
program sets what the others may take.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from typing import Any

from spiritsafe.tasks.code.duet.inside.code_host import load_module
from spiritsafe.tasks.code.duet.inside.fenced import fork_fenced, wait_for
from spiritsafe.tasks.code.duet.inside.values import NotPlainError, decode, encode

_FEWEST_CPU_S, _TIMES_CPU = 0.2, 20


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode("ascii")).hexdigest()[:16]


def _result(module: Any, name: str, given: list[Any]) -> str:
    arguments = [decode(each) for each in given]
    random.seed(0)
    try:
        result = getattr(module, name)(*arguments)
        return _digest([encode(result), [encode(each) for each in arguments]])
    except NotPlainError as error:
        return "!" + _digest(str(error))
    except Exception as error:  # noqa: BLE001  whatever it is, it is how the program behaves
        return "!" + _digest(type(error).__name__)


def _replay(source: str, calls: list[Any], descriptor: int) -> None:
    module = load_module(source)
    for name, given in calls:
        os.write(descriptor, f"{_result(module, name, given)}\n".encode("ascii"))


def main() -> None:
    """Have each program make all calls."""
    with open("job.json", encoding="utf-8") as file:
        job = json.load(file)
    cpu_s = job["cpu_s"]
    for place, source in enumerate(job["programs"]):
        reading, writing = os.pipe()

        def work(source: str = source, writing: int = writing) -> None:
            _replay(source, job["calls"], writing)

        pid = fork_fenced(work, keep=(writing,), cpu_s=cpu_s, wall_s=job["wall_s"])
        os.close(writing)
        data = bytearray()
        while part := os.read(reading, 1 << 16):
            data += part
        os.close(reading)
        _, used_s = wait_for(pid)
        if not place:  # the others shall do the same, so they need not have much more
            cpu_s = min(cpu_s, max(_FEWEST_CPU_S, _TIMES_CPU * used_s))
        sys.stdout.write(json.dumps(data.decode("ascii").split()) + "\n")
