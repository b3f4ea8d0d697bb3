"""Golds of machines agree with a second reading of their statements."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from code_templates import check_theme

from spiritsafe.tasks.code.templates.themes import machines


def _robot(s: Any, commands: str) -> int:
    visited, up = [0], 1
    for c in commands:
        if c not in "RLJT":
            continue
        up = -up if c == "T" else up
        here = visited[-1]
        there = {"R": here + up * s.right, "L": here - up * s.left, "J": here * s.jump, "T": here}[c]
        visited.append(there % s.cells)
    return {"place": visited[-1], "visits": visited[1:].count(0), "furthest": max(visited)}[s.asked]


def _register(s: Any, program: str) -> int:
    value = s.start
    bang: dict[str, Callable[[int], int]] = {"zero": lambda v: 0, "negative": lambda v: -v, "absolute": abs}
    commands: dict[str, Callable[[int], int]] = {
        "+": lambda v: v + s.up,
        "-": lambda v: v - s.down,
        "*": lambda v: v * s.factor % s.m,
        "!": bang[s.bang],
    }
    for c in program:
        value = commands.get(c, lambda v: v)(value)
    return value


def _transitions(s: Any, text: str) -> int:
    states = [0]
    for c in text:
        symbol = s.symbols.find(c) if c in s.symbols else 2
        states.append(int(s.table[3 * states[-1] : 3 * states[-1] + 3][symbol]))
    return states[-1] if s.asked == "state" else states[1:].count(2)


def _stack(s: Any, program: str) -> int:
    stack: list[int] = []
    for c in program:
        if len(stack) < {"+": 2, "d": 1, "x": 2, "p": 1}.get(c, 0):
            if s.is_strict:
                return int(s.failure)
        elif c in "0123456789":
            stack.append(int(c) * s.w)
        elif c == "+":
            y, x = stack.pop(), stack.pop()
            stack.append((s.a * x + s.b * y) % s.m)
        elif c == "d":
            stack.append(stack[-1])
        elif c == "x":
            stack[-2:] = stack[:-3:-1]
        elif c == "p":
            stack.pop()
    if not stack:
        return int(s.failure)
    return stack.pop() if s.asked == "top" else sum(stack)


def _thermostat(s: Any, readings: list[int]) -> int:
    states = [s.is_on]
    for degrees in readings:
        states.append(degrees < s.low or (states[-1] and degrees <= s.low + s.width))
    starts = sum(after and not before for before, after in pairwise(states))
    return int(s.w * (starts if s.asked == "starts" else sum(states[1:])))


def _queue(s: Any, minutes: list[int]) -> int:
    free = [0] * s.servers
    waits, ends = [], [0]
    for i, length in enumerate(minutes):
        wait = max(0, free[0] - i * s.gap)
        if wait <= s.patience:
            waits.append(wait)
            ends.append(i * s.gap + wait + s.setup + length)
            heapq.heapreplace(free, ends[-1])
    return {"served": len(waits), "end": max(ends), "waiting": sum(waits)}[s.asked]


def _turns(s: Any, jobs: list[int]) -> int:
    line = deque((i, length, 0) for i, length in enumerate(jobs))
    time, last, turns = 0, -1, 0
    while line:
        job, need, had = line.popleft()
        used = min(need, s.quantum * (s.boost if had >= s.patience else 1))
        time += used + s.cost
        turns += 1
        if need > used:
            line.append((job, need - used, had + 1))
        else:
            last = job
    return {"end": time, "last": last, "turns": turns}[s.asked]


REFERENCES: dict[str, Callable[..., Any]] = {
    "robot": _robot,
    "register": _register,
    "transitions": _transitions,
    "stack": _stack,
    "thermostat": _thermostat,
    "queue": _queue,
    "turns": _turns,
}


def test_golds_do_what_their_statements_say() -> None:
    check_theme(machines, REFERENCES)
