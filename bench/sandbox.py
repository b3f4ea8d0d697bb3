"""Short runs of foreign code: in the sandbox, in a warm interpreter without walls, in a fresh one without walls.

    python bench/sandbox.py --out bench/results/sandbox-cpu.json

A run is a Python program that reads numbers and says what they come to. "namespaces" and "landlock" are the sandbox's
layers; "forked" is the same fork of a warm interpreter, behind no walls; "fresh" starts ``python -I -c`` for each run.
Each thread of a stream waits for its run before it begins the next one. All ways must say the same before they are
timed; they take turns, A B … B A; medians of the rounds. Fortran and COBOL: a tiny program is compiled and run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from machine import describe_machine
from spiritsafe.tasks.sandbox.job import Run, RunStep
from spiritsafe.tasks.sandbox.layers import SANDBOX_LAYERS, why_no_layer
from spiritsafe.tasks.sandbox.sandbox import Sandbox
from spiritsafe.tasks.sandbox.walls import INSIDE, find_tool, interpreter

PROGRAM = """
import collections, itertools, json, math, re, sys
numbers = [int(word) for word in re.findall(r"-?\\d+", sys.stdin.read())]
print(json.dumps([sum(numbers), math.prod(numbers), collections.Counter(numbers).most_common(1)[0][0]]))
"""
NUMBERS, SAID = "3 1 4 1 5 9 2 6", "[31, 6480, 1]\n"
FORKS = """
import os, sys
sys.path.insert(0, sys.argv[1])
import python_file
import collections, itertools, json, math, re
for line in sys.stdin:
    path, given, out = json.loads(line)
    pid = os.fork()
    if not pid:
        for number, (name, flags) in enumerate(((given, os.O_RDONLY), (out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))):
            os.dup2(os.open(name, flags), number)
        os._exit(python_file.run_file(path, []))
    os.waitpid(pid, 0)
    print("ended", flush=True)
"""
COMPILED = {
    "fortran": (
        ("gfortran-14", "gfortran"),
        "main.f90",
        "program main\n  integer :: n\n  read *, n\n  print '(I0)', n * 2\nend program\n",
        ("-O1", "-o", "main"),
    ),
    "cobol": (
        ("cobc",),
        "main.cob",
        "identification division.\nprogram-id. twice.\ndata division.\nworking-storage section.\n"
        "01 n pic 9(4).\n01 shown pic z(3)9.\nprocedure division.\n    accept n.\n    compute shown = n * 2.\n"
        "    display function trim(shown).\n    stop run.\n",
        ("-x", "-free", "-o", "main"),
    ),
}
Way = Callable[[], str]
"""One run; what it said."""


@contextmanager
def sandboxed(layer: str, streams: int) -> Iterator[Way]:
    run = Run(files={"main.py": PROGRAM}, steps=(RunStep(python="main.py", stdin=NUMBERS),))
    with Sandbox(layer=layer, num_boxes=streams) as sandbox:
        yield lambda: sandbox.run(run).steps[0].text


@contextmanager
def fresh(streams: int) -> Iterator[Way]:
    command = [str(interpreter()), "-I", "-c", PROGRAM]
    yield lambda: subprocess.run(command, input=NUMBERS, capture_output=True, text=True, check=True).stdout


@contextmanager
def forked(streams: int) -> Iterator[Way]:
    with ExitStack() as stack:
        servers = []
        for _ in range(streams):
            command = [str(interpreter()), "-I", "-S", "-c", FORKS, str(INSIDE)]
            server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(server)
            servers.append((server, Path(stack.enter_context(tempfile.TemporaryDirectory()))))

        def once() -> str:
            server, folder = servers.pop()
            for name, text in (("main.py", PROGRAM), ("in", NUMBERS)):
                (folder / name).write_text(text, "ascii")
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(json.dumps([str(folder / name) for name in ("main.py", "in", "out")]) + "\n")
            server.stdin.flush()
            server.stdout.readline()
            said = (folder / "out").read_text("ascii")
            servers.append((server, folder))
            return said

        yield once


def runs_a_second(way: Way, num_runs: int, streams: int) -> float:
    """Of several threads together."""

    def work() -> None:
        for _ in range(num_runs // streams):
            way()

    threads = [threading.Thread(target=work) for _ in range(streams)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return num_runs // streams * streams / (time.monotonic() - started)


def compare_runs(layers: list[str], args: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for streams in args.streams:
        with ExitStack() as stack:
            ways = {layer: stack.enter_context(sandboxed(layer, streams)) for layer in layers}
            ways |= {"forked": stack.enter_context(forked(streams)), "fresh": stack.enter_context(fresh(streams))}
            for name, way in ways.items():  # the gate, which warms up as well
                for _ in range(2 * streams):
                    if (said := way()) != SAID:
                        raise SystemExit(f"{name} says {said!r} instead of {SAID!r}")
            measured: dict[str, list[float]] = {name: [] for name in ways}
            for number in range(args.rounds):
                for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
                    measured[name].append(runs_a_second(ways[name], args.runs, streams))
        result[str(streams)] = {
            name: {"runs_a_second": values, "median": median(values)} for name, values in measured.items()
        }
    return result


def compare_compilers(layer: str, args: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for language, (compilers, name, source, options) in COMPILED.items():
        compiler = next(filter(None, map(find_tool, compilers)), None)
        if compiler is None:
            result[language] = f"{' or '.join(compilers)} is not installed"
            continue
        commands = ([compiler, *options, name], ["./main"])
        steps = tuple(RunStep(argv=tuple(command), stdin="21\n") for command in commands)
        run = Run(files={name: source}, steps=steps)
        seconds: dict[str, list[float]] = {layer: [], "no sandbox": []}
        with Sandbox(layer=layer, num_boxes=1) as sandbox:
            ways = {
                layer: lambda run=run: sandbox.run(run).steps[-1].text,
                "no sandbox": _outside(name, source, commands),
            }
            for number in range(args.rounds + 1):
                for way in list(ways)[:: 1 if number % 2 == 0 else -1]:
                    started = time.monotonic()
                    if (said := ways[way]()) != "42\n":
                        raise SystemExit(f"{language} by {way} says {said!r}")
                    if number:  # the first round warms up
                        seconds[way].append(time.monotonic() - started)
        result[language] = {way: {"seconds": values, "median": median(values)} for way, values in seconds.items()}
    return result


def _outside(name: str, source: str, commands: tuple[list[str], ...]) -> Way:
    def once() -> str:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, name).write_text(source, "ascii")
            for command in commands:
                done = subprocess.run(command, cwd=folder, input="21\n", capture_output=True, text=True, check=True)
        return done.stdout

    return once


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="raw results as JSON")
    parser.add_argument("--runs", type=int, default=400, help="of each way in a round")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    layers = [layer for layer in SANDBOX_LAYERS if why_no_layer(layer) is None]
    result = {
        "machine": describe_machine(),
        "missing": {layer: why_no_layer(layer) for layer in SANDBOX_LAYERS if layer not in layers},
        "as": "root" if os.geteuid() == 0 else "a user",
        "python": compare_runs(layers, args),
        "compiled": compare_compilers(layers[0], args) if layers else {},
    }
    for streams, ways in result["python"].items():
        print(f"{streams} at once:", {name: round(way["median"], 1) for name, way in ways.items()}, "runs a second")
    for language, ways in result["compiled"].items():
        shown = ways if isinstance(ways, str) else {name: round(way["median"], 3) for name, way in ways.items()}
        print(f"{language}:", shown, "seconds")
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
