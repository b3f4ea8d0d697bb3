"""Calls of programs' functions, each program in a process of its own; what they give, whole or as digests.

In: ``job.json``: texts of programs, calls, how long each program may compute, whether results are wanted whole, and how
many steps, which are the same on every machine, a call may take; 0: as many as it likes. Out: for each program a line
of JSON: for each call, as far as they came, a digest of its result and of what became of the arguments, or the result
itself; behind an exclamation mark, what tells an error. The first program sets how long the others may compute.
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
from spiritsafe.tasks.code.duet.inside.values import NotPlainError, decoded, encoded

_FEWEST_CPU_S, _TIMES_CPU = 0.2, 20


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode("ascii")).hexdigest()[:16]


_MOST_WHOLE = 20_000


def _whole(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MOST_WHOLE else f"!{_digest(value)}"


class _TooLong(BaseException):
    """A call has taken more steps than it may."""


class _Steps:
    """Counts the lines and calls that Python runs.

    Args:
        most: Of one call; 0: nothing is counted.
    """

    def __init__(self, most: int) -> None:
        self._most, self._left, self._left_of_all = most, most, most * _TIMES_ALL

    def call(self, function: Any, arguments: list[Any]) -> Any:
        """Call a function.

        Raises:
            _TooLong: It takes too many steps, or all calls together have.
        """
        if not self._most:
            return function(*arguments)
        self._left = min(self._most, self._left_of_all)
        before = self._left
        sys.settrace(self._count)
        try:
            result = function(*arguments)
        finally:
            sys.settrace(None)
            self._left_of_all -= before - self._left
        if self._left < 0:
            raise _TooLong  # the program has caught the first
        return result

    def _count(self, *_: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise _TooLong
        return self._count


_TIMES_ALL = 100
"""So many calls may take all the steps that one may."""


def _result(module: Any, name: str, given: list[Any], is_whole: bool, steps: _Steps) -> str:
    arguments = [decoded(each) for each in given]
    random.seed(0)
    try:
        result = steps.call(getattr(module, name), arguments)
        return (
            _whole(encoded(result)) if is_whole else _digest([encoded(result), [encoded(each) for each in arguments]])
        )
    except _TooLong:
        return "!long"
    except NotPlainError as error:
        return "!" + _digest(str(error))
    except Exception as error:  # noqa: BLE001  whatever it is, it is how the program behaves
        return "!" + _digest(type(error).__name__)


def _replay(source: str, job: dict[str, Any], descriptor: int) -> None:
    module, steps = load_module(source), _Steps(job["steps"])
    for name, given in job["calls"]:
        os.write(descriptor, f"{_result(module, name, given, job['whole'], steps)}\n".encode("ascii"))


def _lines(text: str) -> list[str]:
    """Those that were written to their end."""
    return text.split("\n")[:-1]


def main() -> None:
    """Have each program make all calls."""
    with open("job.json", encoding="utf-8") as file:
        job = json.load(file)
    cpu_s = job["cpu_s"]
    for place, source in enumerate(job["programs"]):
        reading, writing = os.pipe()

        def work(source: str = source, writing: int = writing) -> None:
            _replay(source, job, writing)

        pid = fork_fenced(work, keep=(writing,), cpu_s=cpu_s, wall_s=job["wall_s"])
        os.close(writing)
        data = bytearray()
        while part := os.read(reading, 1 << 16):
            data += part
        os.close(reading)
        _, used_s = wait_for(pid)
        if not place:  # the others shall do the same, so they need not have much more
            cpu_s = min(cpu_s, max(_FEWEST_CPU_S, _TIMES_CPU * used_s))
        sys.stdout.write(json.dumps(_lines(data.decode("ascii"))) + "\n")
