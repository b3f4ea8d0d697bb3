"""The child's protocol, spoken by hand."""

import json
import signal
import subprocess
import sys


def talk(*requests: object) -> list[dict[str, object]]:
    text = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run(
        [sys.executable, "-m", "spiritsafe.core.process.children.main", str(4 << 30)],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_load_call_and_leave_at_end_of_input() -> None:
    load = {
        "load": "k",
        "module": "spiritsafe.tasks.grading.faults",
        "attribute": "FaultyHandler",
        "arguments": {"fault": "raise"},
    }
    replies = talk(
        load,
        {"call": "k", "payload": 1, "cpu_s": 5, "wall_s": 5.0},
        {"call": "unknown", "payload": 1, "cpu_s": 5, "wall_s": 5.0},
    )
    assert replies[0] == {"value": None}
    assert replies[1] == {"raised": "RuntimeError: injected"}
    assert replies[2] == {"raised": "KeyError: 'unknown'"}


def test_leaves_after_running_out_of_memory() -> None:
    load = {
        "load": "k",
        "module": "spiritsafe.tasks.grading.faults",
        "attribute": "FaultyHandler",
        "arguments": {"fault": "hog"},
    }
    replies = talk(
        load,
        {"call": "k", "payload": 1, "cpu_s": 5, "wall_s": 5.0},
        {"call": "k", "payload": 1, "cpu_s": 5, "wall_s": 5.0},
    )
    assert len(replies) == 2
    assert replies[1]["leave"] is True


def test_prints_go_to_stderr() -> None:
    load = {"load": "k", "module": "builtins", "attribute": "print", "arguments": {"end": "noise"}}
    assert talk(load) == [{"value": None}]


def test_an_orphan_that_sleeps_is_ended_by_its_own_timer() -> None:
    load = {
        "load": "k",
        "module": "spiritsafe.tasks.grading.faults",
        "attribute": "FaultyHandler",
        "arguments": {"fault": "hang"},
    }
    call = {"call": "k", "payload": 1, "cpu_s": 5, "wall_s": -4.5}
    done = subprocess.run(
        [sys.executable, "-m", "spiritsafe.core.process.children.main", str(4 << 30)],
        input=f"{json.dumps(load)}\n{json.dumps(call)}\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGALRM
