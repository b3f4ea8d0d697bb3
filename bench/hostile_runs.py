"""Hostile runs by the thousand: what they leave behind on this machine, and whether runs after them are as before.

    python bench/hostile_runs.py --out bench/results/hostile-runs-cpu.json

Every attack of ``spiritsafe.tasks.sandbox.attacks`` and some programs more (a fork bomb, one that fills memory from
many processes, one that leaves a deaf daemon, one that writes a tree without end, and so on) in turn, on every layer.
After every twentieth a plain program must say what it says. Before and after, once all sandboxes are closed: processes,
files in the folders for temporary ones, control groups, mounts, segments of shared memory, this process's descriptors,
threads and memory. Started by a user instead of root, what other programs write to /tmp meanwhile shows as well.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from machine import describe_machine
from spiritsafe.tasks.sandbox.attacks import programs
from spiritsafe.tasks.sandbox.attacks.table import outside, run_attack
from spiritsafe.tasks.sandbox.job import Limits, Run, RunStep
from spiritsafe.tasks.sandbox.layers import SANDBOX_LAYERS, why_no_layer
from spiritsafe.tasks.sandbox.sandbox import Sandbox, SandboxFailure
from spiritsafe.tasks.sandbox.walls import MOST_BOXES, user_of

LIMITS = Limits(cpu_s=1.0, wall_s=2.0, memory_bytes=256 << 20)
MORE = {
    "fork bomb": "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
    "fork bomb of the shell": ("/bin/sh", "-c", "f() { f | f & }; f; f; f; wait"),
    "fork bomb in sessions": "import os\nwhile True:\n    try:\n        if not os.fork():\n            os.setsid()\n"
    "    except OSError:\n        pass",
    "memory of many": "import os\nfor _ in range(5):\n    os.fork()\nx = bytearray(100 << 20)\nwhile True: pass",
    "deaf daemon": "import os, signal, time\nfor n in range(1, 65):\n    try:\n"
    "        signal.signal(n, signal.SIG_IGN)\n"
    "    except (OSError, ValueError):\n        pass\nfor _ in range(3):\n    if os.fork():\n        os._exit(0)\n"
    "    os.setsid()\ntime.sleep(600)  # MARK",
    "daemon of the shell": ("/bin/sh", "-c", "(trap '' TERM HUP; setsid sleep 600 MARK &); sleep 600 & exit 0"),
    "closed tree": "import os\nfor n in range(80):\n    os.mkdir('d')\n    os.chdir('d')\n"
    "    open('f', 'w').write('x' * 999)\nfor n in range(80):\n    os.chmod('.', 0)\n    os.chdir('/proc/self/cwd/..')",
    "deep tree": "import os\nwhile True:\n    os.mkdir('d' * 200)\n    os.chdir('d' * 200)",
    "names that are no text": "import os\nfor n in range(1, 256):\n    if n != 47:\n"
    "        open(bytes([n]) + b'\\xff\\n', 'w')",
    "links": "import os\nfor n in range(500):\n    os.symlink('/', f's{n}')\n    os.symlink('..', f'u{n}')\n"
    "os.link('main.py', 'l')",
    "output of many": "import os\nfor _ in range(4):\n    os.fork()\nwhile True:\n    os.write(1, b'x' * 65536)",
    "both outputs closed": "import os, time\nos.close(1); os.close(2); time.sleep(600)",
    "stopped": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nimport time; time.sleep(600)",
    "crash": "import ctypes; ctypes.string_at(0)",
    "stack": "import sys, threading\nsys.setrecursionlimit(10**9)\nthreading.stack_size(64 << 20)\n"
    "f = lambda n: f(n + 1)\nt = threading.Thread(target=f, args=(0,)); t.start(); t.join()",
    "descriptors": "import os\nheld = []\nwhile True:\n    held.append(os.pipe())",
    "report by name": "import os\nfor n in range(3, 256):\n    try:\n        os.write(n, b'{\"failed\": \"x\"}\\n')\n"
    "    except OSError:\n        pass",
    "memory in files": "import os\nheld = [os.memfd_create('x') for _ in range(9)]\nfor one in held:\n"
    "    os.write(one, bytes(30 << 20))",
    "does not end at its end": "import atexit, time\natexit.register(time.sleep, 600)",
    "threads that stay": "import threading, time\nfor _ in range(20):\n"
    "    threading.Thread(target=time.sleep, args=(600,)).start()",
}  # fmt: skip
"""Python, or what is executed."""
PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/run/shm", "/dev/mqueue", "/", "/usr", "/dev", "/run", str(Path.home()))


def seen_outside() -> dict[str, set[str]]:
    """What a run could leave on this machine."""
    names = {os.path.join(tempfile.gettempdir(), name) for name in os.listdir(tempfile.gettempdir())}
    for place in filter(os.path.isdir, PLACES):
        names |= {entry.path for entry in os.scandir(place) if _is_a_runs(entry)}
    groups = {
        os.path.join(place, name)
        for place, below, _ in os.walk("/sys/fs/cgroup")
        for name in below
        if name.startswith(f"spiritsafe-{os.getpid()}-")
    }
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        mounted = {line.split()[4] for line in mounts}
    with open("/proc/sysvipc/shm", encoding="ascii") as segments:
        shared = {line.split()[0] for line in list(segments)[1:]}
    return {"files": names, "control groups": groups, "mounts": mounted, "shared memory": shared}


def _is_a_runs(entry: os.DirEntry[str]) -> bool:
    """Made by a user that runs are; where these are whoever started this, by anybody."""
    first = user_of(0)
    try:
        return first is None or 0 <= entry.stat(follow_symlinks=False).st_uid - first < MOST_BOXES
    except FileNotFoundError:
        return False


def processes(mark: str | None = None) -> list[str]:
    """This process's sandboxes', below it or not; or those whose arguments name a mark."""
    first, below = user_of(0), {process.pid for process in psutil.Process().children(recursive=True)}
    found = []
    for process in psutil.process_iter(["cmdline", "uids", "status"]):
        arguments, users = " ".join(process.info["cmdline"] or ()), process.info["uids"]
        if mark is not None:
            is_ours = mark in arguments
        else:
            is_ours = process.pid in below or (first is not None and users and 0 <= users.real - first < MOST_BOXES)
        if is_ours and process.info["status"] != psutil.STATUS_ZOMBIE:  # whom nobody has waited for yet
            found.append(arguments[:200])
    return found


def own() -> dict[str, float]:
    me = psutil.Process()
    return {"descriptors": me.num_fds(), "threads": me.num_threads(), "memory_mb": me.memory_info().rss / 1e6}


def hostile(sandbox: Sandbox, what: str | tuple[str, ...], mark: str) -> str:
    """Let one run; how it ended."""
    if isinstance(what, str):
        run = Run(files={"main.py": what.replace("MARK", mark)}, steps=(RunStep(python="main.py"),), limits=LIMITS)
    else:
        run = Run(steps=(RunStep(argv=tuple(part.replace("MARK", mark) for part in what)),), limits=LIMITS)
    try:
        result = sandbox.run(run)
    except SandboxFailure as failure:
        return f"SandboxFailure: {failure}"
    return result.stop or f"code {result.steps[0].code}"


def besiege(layer: str, num_runs: int, ended: dict[str, Counter[str]]) -> dict[str, Any]:
    """That many runs on one layer, two at once."""
    plain = Run(files={"main.py": "print(sum(range(10)))"}, steps=(RunStep(python="main.py"),))
    wrong: list[str] = []
    denied = Counter[str]()
    seconds: list[float] = []
    memory: list[float] = []
    numbers = iter(range(num_runs))
    lock = threading.Lock()
    names = [*programs.ATTACKS, *MORE]
    with Sandbox(layer=layer, num_boxes=2) as sandbox, outside() as facts:

        def work() -> None:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                name = names[number % len(names)]
                started = time.monotonic()
                if name in MORE:
                    ended[name][hostile(sandbox, MORE[name], facts["mark"])] += 1
                else:
                    result = run_attack(sandbox, name, {**facts, "mark": f"{facts['mark']}-{number}"})
                    denied["denied" if result.denied else f"{name}: {result.how}"] += 1
                seconds.append(time.monotonic() - started)
                if number % 20 == 0:
                    said = sandbox.run(plain)
                    if said.steps[0].text != "45\n" or said.stop is not None:
                        wrong.append(f"after {name}: {said}")
                    memory.append(own()["memory_mb"])

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        marked = processes(facts["mark"])
    return {
        "runs": num_runs,
        "denied": dict(denied),
        "plain_runs_that_went_wrong": wrong,
        "marked_processes_before_closing": marked,
        "median_seconds": median(seconds),
        "memory_mb": memory,
    }


def measure(num_runs: int) -> dict[str, Any]:
    layers = [layer for layer in SANDBOX_LAYERS if why_no_layer(layer) is None]
    machine = describe_machine()
    ended = {layer: {name: Counter[str]() for name in MORE} for layer in layers}
    for layer in layers:
        besiege(layer, 2, ended[layer])  # whatever is made once only
    before, mine = seen_outside(), own()
    result: dict[str, Any] = {"machine": machine, "as": "root" if os.geteuid() == 0 else "a user", "layers": {}}
    for layer in layers:
        result["layers"][layer] = besiege(layer, num_runs // len(layers), ended[layer])
        result["layers"][layer]["ended"] = {name: dict(counts) for name, counts in ended[layer].items()}
    result["left"] = {kind: sorted(names - before[kind]) for kind, names in seen_outside().items()}
    result["left"]["processes"] = processes()
    result["before"], result["after"] = mine, own()
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="raw results as JSON")
    parser.add_argument("--runs", type=int, default=2000, help="on all layers together")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:  # where nobody else writes
        os.chmod(folder, 0o755)  # users that runs are find the way
        tempfile.tempdir = folder
        result = measure(args.runs)
    for layer, facts in result["layers"].items():
        print(
            f"{layer}: {facts['runs']} runs, {facts['denied']}, {len(facts['plain_runs_that_went_wrong'])} plain wrong"
        )
    print(json.dumps({name: result[name] for name in ("left", "before", "after")}, indent=2))
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
