"""A watched worker, in a process of its own: it gives all its descendants over to be killed."""

import os
import subprocess
import sys
import tempfile

SCRIPT = """
import json, os, sys
from hostile_task import PROBLEM, HostileTask
from spiritsafe.tasks.grading.watch import WatchedWorker
from spiritsafe.tasks.grading.watch import WorkerLost
from spiritsafe.tasks.grading.worker import GraderLimits
from spiritsafe.core.process.process_tree import adopt_orphans
from spiritsafe.core.process.process_tree import descendants
adopt_orphans()

def start(helpers=(), wall_s=30.0):  # on a busy machine half a CPU second takes long
    limits = GraderLimits(wall_s=wall_s, cpu_s=0.5, memory_bytes=512 << 20, output_bytes=5000)
    return WatchedWorker(HostileTask(), limits, scratch=sys.argv[1], private=(), helpers=frozenset(helpers))

def ask(worker, text):
    request = {"problem": PROBLEM.to_json(), "text": text, "ballast": "x" * int(os.environ.get("BALLAST", 0))}
    try:
        reply = worker.ask(json.dumps(request).encode() + b"\\n")
        print(reply["verdict"]["status"], worker.num_served)
    except WorkerLost as lost:
        print(lost, "| final" if lost.final else "|")
"""


def run(body: str, **more: str) -> list[str]:
    environment = {**os.environ, **more, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-c", SCRIPT + body, scratch]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
        assert os.listdir(scratch) == []
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_verdicts_and_a_clean_end() -> None:
    body = "w = start(); ask(w, 'ok'); ask(w, 'no'); ask(w, 'print a little'); w.end(); print(descendants(os.getpid()))"
    assert run(body) == ["correct 1", "wrong 2", "wrong 3", "[]"]


def test_requests_larger_than_a_pipe() -> None:
    assert run("w = start(); ask(w, 'ok'); ask(w, 'no'); w.end()", BALLAST="3000000") == ["correct 1", "wrong 2"]


def test_output_is_counted_attempt_by_attempt() -> None:
    body = "w = start()\nfor _ in range(20): ask(w, 'print a little')\nask(w, 'print'); w.end()"
    *quiet, loud = run(body)
    assert quiet == [f"wrong {count}" for count in range(1, 21)]
    assert loud == "it printed more than 5000 bytes |"


def test_time_is_final_other_losses_may_be_an_earlier_attempts_fault() -> None:
    body = (
        "w = start(wall_s=2.0); ask(w, 'sleep'); w.end()\n"
        "for deed in ('spin', 'die', 'write junk', 'leave a daemon'): w = start(); ask(w, deed); w.end()"
    )
    assert run(body) == [
        "no verdict within 2 s | final",
        "the limit of 0.5 CPU seconds was reached | final",
        "its process ended with code 3 |",
        "it wrote into the pipe of verdicts |",
        "it left processes running |",
    ]


def test_a_worker_that_dies_while_its_children_hold_its_pipes_is_missed_soon() -> None:
    body = (
        "import time; w = start(); t = time.monotonic(); ask(w, 'leave a daemon and die')\n"
        "print(time.monotonic() - t < 1.0); w.end(); print(descendants(os.getpid()))"
    )
    assert run(body) == ["its process ended with code 9 |", "True", "[]"]


def test_the_tasks_own_helpers_live_on() -> None:
    body = (
        "import subprocess, hostile_task\n"
        "helper = subprocess.Popen(hostile_task.SLEEP)\n"
        "w = start([helper.pid]); ask(w, 'leave a daemon'); w.end(); print(helper.poll())\n"
        "w = start([helper.pid], 2.0); ask(w, 'sleep'); w.end(); print(helper.poll(), len(descendants(os.getpid())))\n"
        "helper.kill(); helper.wait()"
    )
    found = run(body)
    assert found[1] == "None"
    assert found[3] == "None 1"
