"""Templates of machines: what a sequence of commands, readings or jobs does to a state."""

from __future__ import annotations

from itertools import product
from typing import Any

from spiritsafe.tasks.code.templates.inputs import rows, text, whole
from spiritsafe.tasks.code.templates.template import Exercise, added, asking, scaled, template


@template(
    level=4,
    cells=range(7, 61),
    right=range(1, 6),
    left=range(1, 6),
    jump=range(2, 6),
    asked=("place", "visits", "furthest"),
)
def _robot(cells: int, right: int, left: int, jump: int, asked: str) -> Exercise:
    result = {
        "place": "the number of the cell where it ends",
        "visits": "how many commands ended with the robot in cell 0 (ignored characters are no commands)",
        "furthest": "the greatest number of a cell in which it stood (after a command, or at the start)",
    }[asked]
    return Exercise(
        gold=asking(
            f"""\
def robot(commands: str) -> int:
    place = 0
    heading = 1
    visits = 0  # visits
    furthest = 0  # furthest
    for c in commands:
        if c == "R":
            place = (place + {right} * heading) % {cells}
        elif c == "L":
            place = (place - {left} * heading) % {cells}
        elif c == "J":
            place = place * {jump} % {cells}
        elif c == "T":
            heading = -heading
        else:
            continue
        if place == 0:  # visits
            visits += 1  # visits
        furthest = max(furthest, place)  # furthest
    return {asked}
""",
            asked,
        ),
        wordings=(
            f"A robot stands in cell 0 of a ring of {cells} cells, numbered 0 to {cells - 1}. The text holds its "
            f"commands: R moves it {right} cells up and L {left} cells down (after cell {cells - 1} comes cell 0); J "
            f"takes it from cell p to the cell whose number is {jump} * p modulo {cells}; T exchanges up and down "
            f"for "
            f"all later R and L, until the next T. Other characters are ignored. Return {result}.",
            f"Simulate a robot on cells 0 to {cells - 1} that are closed to a ring; it begins in cell 0. For each "
            f"character: R = {right} cells forward, L = {left} cells backward, J = go to the cell ({jump} times the "
            f"present number) modulo {cells}, T = turn round, so that forward and backward change their meaning; "
            f"anything else does nothing. Return {result}. Forward is at first towards higher numbers.",
        ),
        supplies=(text("RRRLLJT-", most=24, pieces=("RR", "LL", "RJ", "TR", "RRRRRRRR", "LT")),),
    )


@template(
    level=3,
    start=range(-9, 10),
    up=range(1, 30),
    down=range(1, 30),
    factor=range(2, 6),
    m=range(100, 1000),
    bang=("zero", "negative", "absolute"),
)
def _register(start: int, up: int, down: int, factor: int, m: int, bang: str) -> Exercise:
    code = {"zero": "0", "negative": "-value", "absolute": "abs(value)"}[bang]
    words = {"zero": "0", "negative": "the value with its sign changed", "absolute": "the absolute value"}[bang]
    return Exercise(
        gold=f"""\
def run(program: str) -> int:
    value = {start}
    for c in program:
        if c == "+":
            value += {up}
        elif c == "-":
            value -= {down}
        elif c == "*":
            value = value * {factor} % {m}
        elif c == "!":
            value = {code}
    return value
""",
        wordings=(
            f"A register holds {start}. Every character of the program changes it: + adds {up}, - subtracts {down}, "
            f"* "
            f"multiplies by {factor} and keeps the remainder on division by {m} (from 0 to {m - 1}, also if the "
            f"product is negative), ! makes it {words}. Other characters do nothing. Return the value at the end.",
            f"Starting from {start}, obey the characters of the text in order: '+' means plus {up}, '-' means minus "
            f"{down}, '*' means times {factor} and then modulo {m} (never negative), '!' means: replace it by "
            f"{words}; ignore the rest. Return the result.",
        ),
        supplies=(
            text(
                "++--**!x",
                most=20,
                pieces=("+", "--", "*!", "-*", "***", "!", "+" * 6, "-" * 6 + "*", "-----!", "--!", "!-!"),
            ),
        ),
    )


_TABLES = tuple("".join(row) for row in product("012", repeat=9))


def _is_whole_machine(s: dict[str, Any]) -> dict[str, Any] | None:
    """None if a state is never reached, or two of them cannot be told apart."""
    table = [int(state) for state in s["table"]]
    found = {0}
    for _ in range(2):
        found |= {table[3 * state + symbol] for state in found for symbol in range(3)}
    if len(found) < 3:
        return None
    alike = all(min(x, 1) == min(y, 1) or x + y == 1 for x, y in zip(table[:3], table[3:6], strict=True))
    merged = [state == 2 for state in table]
    return None if s["asked"] == "visits" and alike and merged[:3] == merged[3:6] else s


@template(level=4, settle=_is_whole_machine, table=_TABLES, symbols=("ab", "01", "xy", "+-"), asked=("state", "visits"))
def _transitions(table: str, symbols: str, asked: str) -> Exercise:
    one, other = symbols[0], symbols[1]
    listed = ", ".join(table)
    rules = [
        f'in state {i}, "{one}" leads to {table[3 * i]}, "{other}" to {table[3 * i + 1]}, any other character to '
        f"{table[3 * i + 2]}"
        for i in range(3)
    ]
    result = "the state at the end" if asked == "state" else "how many characters led to state 2 (from whichever state)"
    return Exercise(
        gold=asking(
            f"""\
def machine(text: str) -> int:
    table = [{listed}]
    state = 0
    visits = 0  # visits
    for c in text:
        symbol = 2
        if c == "{one}":
            symbol = 0
        elif c == "{other}":
            symbol = 1
        state = table[state * 3 + symbol]
        if state == 2:  # visits
            visits += 1  # visits
    return {asked}
""",
            asked,
        ),
        wordings=(
            "A machine has the states 0, 1 and 2 and starts in state 0. It reads the text character by character: "
            f"{'; '.join(rules)}. Return {result}.",
            "Each character of a text takes a machine from one state to the next. The first state is 0. The rules "
            f"are: {'; '.join(rules)}. Return {result}.",
        ),
        supplies=(text(f"{one}{other}{one}{other}?", most=16),),
    )


@template(
    level=5,
    w=range(1, 10),
    a=(*range(-4, 0), *range(1, 6)),
    b=(*range(-4, 0), *range(1, 6)),
    m=range(50, 1000),
    failure=range(-9, 0),
    is_strict=(True, False),
    asked=("top", "sum"),
)
def _stack(w: int, a: int, b: int, m: int, failure: int, is_strict: bool, asked: str) -> Exercise:
    short = f"return {failure}" if is_strict else "continue"
    missing = (
        f"If a command finds too few numbers, return {failure} at once."
        if is_strict
        else "A command that finds too few numbers does nothing."
    )
    result = "the number on top" if asked == "top" else "the sum of all numbers on the stack"
    value = "stack[-1]" if asked == "top" else "sum(stack)"
    return Exercise(
        gold=f"""\
def run(program: str) -> int:
    stack = []
    for c in program:
        size = len(stack)
        if c.isdigit():
            stack.append({scaled('(ord(c) - ord("0"))', w)})
        elif c == "+":
            if size < 2:
                {short}
            x = stack[size - 2]
            y = stack[size - 1]
            stack = stack[:size - 2]
            stack.append(({scaled("x", a)}{added("y", b)}) % {m})
        elif c == "d":
            if size < 1:
                {short}
            stack.append(stack[size - 1])
        elif c == "x":
            if size < 2:
                {short}
            y = stack[size - 1]
            stack[size - 1] = stack[size - 2]
            stack[size - 2] = y
        elif c == "p":
            if size < 1:
                {short}
            stack = stack[:size - 1]
    if len(stack) == 0:
        return {failure}
    return {value}
""",
        wordings=(
            f"A program works on a stack of numbers, empty at first. A decimal digit pushes {w} times its value. + "
            f"takes the top number y and the number x below it away, and pushes ({a} * x + {b} * y) modulo {m} (from "
            f"0 to {m - 1}, never negative). d pushes another copy of the top number. x exchanges the two top "
            f"numbers. p takes the top number away. All other characters do nothing. {missing} At the end return "
            f"{result}, or {failure} if the stack is empty.",
            f"Run a program of one-character commands on a stack. Digits: push the digit times {w}. 'd': double, "
            f"that "
            "is push the top once more. 'p': pop the top. 'x': swap the top two. '+': pop y, pop x, push the "
            f"remainder (0 to {m - 1}) of {a} * x + {b} * y divided by {m}. The rest is ignored. {missing} Return "
            f"{result} when the program has ended; if nothing is on the stack, return {failure}.",
        ),
        supplies=(
            text("0123456789++++dxxp ", most=20, pieces=("12+", "7d", "34x", "9", "5p", "++", "8x+", "12x", "d+")),
        ),
    )


@template(
    level=3, low=range(-10, 31), width=range(1, 16), is_on=(False, True), w=range(1, 10), asked=("starts", "minutes")
)
def _thermostat(low: int, width: int, is_on: bool, w: int, asked: str) -> Exercise:
    high = low + width
    result = f"{w} times " + (
        "how often it was switched on" if asked == "starts" else "the number of readings after which it is on"
    )
    start = "on" if is_on else "off"
    fresh = "not is_on and " if asked == "starts" else ""
    return Exercise(
        gold=asking(
            f"""\
def heating(readings: list[int]) -> int:
    is_on = {is_on}
    count = 0
    for degrees in readings:
        if {fresh}degrees < {low}:
            is_on = True
            count += 1  # starts
        elif degrees > {high}:
            is_on = False
        if is_on:  # minutes
            count += 1  # minutes
    return {scaled("count", w)}
""",
            asked,
        ),
        wordings=(
            f"A heater is {start} at first. After each reading of the temperature it is switched on if the reading "
            f"is "
            f"below {low}, and off if it is above {high}; otherwise it stays as it is. Return {result}.",
            f"Go through the readings with a heater that begins {start}: less than {low} turns it on (if it is not "
            f"on "
            f"already), more than {high} turns it off, anything between changes nothing. Return {result}.",
        ),
        supplies=(rows(whole(low - 8, high + 8, low, high), most=14),),
    )


@template(
    level=4,
    servers=range(2, 7),
    setup=range(16),
    gap=range(13),
    patience=range(5, 61),
    asked=("served", "end", "waiting"),
)
def _queue(servers: int, setup: int, gap: int, patience: int, asked: str) -> Exercise:
    result = {
        "served": "how many customers are served",
        "end": "the minute in which the last service ends (0 if nobody is served)",
        "waiting": "the sum of the waiting times of the customers who are served",
    }[asked]
    arrivals = "all come in minute 0" if gap == 0 else f"customer i (counted from 0) comes in minute {gap} * i"
    arrival = "0" if gap == 0 else scaled("i", gap)
    service = f"{setup} minutes and the minutes needed" if setup else "the minutes needed"
    more = f", plus {setup} minutes" if setup else ""
    wait = f"max(free[best] - {arrival}, 0)" if gap else "free[best]"
    return Exercise(
        gold=asking(
            f"""\
def queue(minutes: list[int]) -> int:
    free = [0] * {servers}
    served = 0  # served
    end = 0  # end
    waiting = 0  # waiting
    for i in range(len(minutes)):
        best = 0
        for k in range(1, {servers}):
            if free[k] < free[best]:
                best = k
        wait = {wait}
        if wait > {patience}:
            continue
        free[best] = {arrival + " + " if gap else ""}wait + {f"{setup} + " if setup else ""}minutes[i]
        served += 1  # served
        waiting += wait  # waiting
        end = max(end, free[best])  # end
    return {asked}
""",
            asked,
        ),
        wordings=(
            f"At {servers} counters customers are served in the order of the list, which says how many minutes each "
            f"one needs; {arrivals}. Each goes to the counter that is free first (all are free from minute 0) and "
            f"waits until then if it is still busy; the service takes {service}. Who would have to wait more than "
            f"{patience} minutes leaves at once and is not served. Return {result}.",
            f"Simulate a queue before {servers} counters, empty at minute 0: {arrivals}, and needs the minutes that "
            f"the list says{more}. One after the other they take the counter that becomes free earliest, and wait "
            f"for "
            f"it if necessary, but a customer for whom the wait would exceed {patience} minutes goes home instead. "
            f"Return {result}.",
        ),
        notes="No number is negative.",
        supplies=(
            rows(
                whole(0, 30 + patience + servers * (gap + 2), patience, patience + gap, max(patience - setup, 0), 5),
                most=20,
            ),
        ),
    )


@template(
    level=5,
    settle=lambda s: s if s["asked"] == "end" else s | {"cost": 1},
    quantum=range(1, 16),
    cost=range(1, 7),
    patience=range(1, 9),
    boost=range(2, 7),
    asked=("end", "last", "turns"),
)
def _turns(quantum: int, cost: int, patience: int, boost: int, asked: str) -> Exercise:
    result = {
        "end": "the time at which everything is finished",
        "last": "the number of the job that is finished last (-1 if there are no jobs)",
        "turns": "how many turns there are in all",
    }[asked]
    return Exercise(
        gold=asking(
            f"""\
def schedule(jobs: list[int]) -> int:
    left = jobs[:]
    had = [0] * len(jobs)
    open_jobs = len(jobs)
    end = 0  # end
    last = -1  # last
    turns = 0  # turns
    while open_jobs > 0:
        for i in range(len(left)):
            if left[i] < 0:
                continue
            slice_length = {quantum}
            if had[i] >= {patience}:
                slice_length = {quantum * boost}
            used = min(slice_length, left[i])
            left[i] -= used
            had[i] += 1
            turns += 1  # turns
            end += used + {cost}  # end
            if left[i] == 0:
                left[i] = -1
                open_jobs -= 1
                last = i  # last
    return {asked}
""",
            asked,
        ),
        wordings=(
            "Jobs, numbered from 0, need the minutes of the list. They get turns in the order of their numbers, over "
            f"and over, leaving out finished ones. A turn lasts {quantum} minutes, or {quantum * boost} minutes if "
            f"the job has had {patience} or more turns before, but never longer than the job still needs; a job that "
            f"needs nothing more is finished (one of 0 minutes by its first turn). Each turn costs {cost} minutes "
            f"more for the change. Return {result}.",
            "Share one machine among jobs whose lengths are listed: round by round, each unfinished job in order of "
            f"its index (from 0) runs for up to {quantum} minutes; from a job's turn number {patience + 1} on, up to "
            f"{quantum * boost} minutes. A job of length 0 takes one turn of 0 minutes. After every turn {cost} "
            f"minutes go by. Return {result}.",
        ),
        notes="No length is negative. The time starts at 0, and the minutes after the last turn count as well.",
        supplies=(
            rows(
                whole(0, quantum * (patience + boost + 2), quantum, quantum * patience, quantum * (patience + boost)),
                most=8,
            ),
        ),
    )
