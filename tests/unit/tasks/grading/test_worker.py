"""The worker's protocol, spoken by hand."""

import json
import subprocess
import sys

import pytest
from hostile_task import PROBLEM

from spiritsafe.core.errors import IntegrityError
from spiritsafe.tasks.grading.worker import MAX_REPLY_BYTES, GraderLimits

SCRIPT = """
import os, resource, sys
sys.path[:0] = sys.argv[2:]
from hostile_task import HostileTask
from spiritsafe.tasks.grading.worker import GraderLimits
from spiritsafe.tasks.grading.worker import serve_grades
from spiritsafe.core.process.process_tree import adopt_orphans
from spiritsafe.core.process.process_tree import end_descendants
adopt_orphans()
replies = os.dup(1)
os.dup2(2, 1)
serve_grades(HostileTask(), GraderLimits.from_json(eval(sys.argv[1])), os.dup(0), replies)
os.write(replies, repr([resource.getrlimit(kind)[0] for kind in
    (resource.RLIMIT_CORE, resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_CPU)]).encode())
end_descendants()
os._exit(0)
"""


def talk(*texts: str, **limits: float) -> list[str]:
    request = {"problem": PROBLEM.to_json()}
    lines = "".join(json.dumps({**request, "text": text}) + "\n" for text in texts)
    command = [sys.executable, "-c", SCRIPT, repr(limits), *(entry for entry in sys.path if entry)]
    return subprocess.run(command, input=lines, capture_output=True, text=True, check=True).stdout.splitlines()


def test_verdicts_until_the_requests_end_under_limits() -> None:
    *replies, limits = talk("ok", "no", "print a little", memory_bytes=1 << 30, output_bytes=1 << 20, cpu_s=20)
    found = [json.loads(reply) for reply in replies]
    assert [reply["item"] for reply in found] == [0, 1, 2]
    assert [reply["verdict"]["status"] for reply in found] == ["correct", "wrong", "wrong"]
    assert all(reply.keys() == {"item", "verdict"} for reply in found)
    core, space, size, cpu = json.loads(limits)
    assert (core, space, size) == (0, 1 << 30, 1 << 20)
    assert 20 < cpu <= 25  # what was used until then, and 20 more


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("raise", {"raised": "ValueError: invalid literal for int() with base 10: 'junk'", "strained": False}),
        ("exit", {"raised": "SystemExit: 3", "strained": False}),
        ("allocate", {"raised": "MemoryError: the memory limit was reached", "strained": True}),
        ("give nothing", {"raised": "TypeError: the verifier gave a NoneType, not a Verdict", "strained": False}),
    ],
)
def test_it_leaves_when_something_went_wrong(text: str, reply: dict[str, object]) -> None:
    replies = talk(text, "ok", memory_bytes=1 << 30)
    assert json.loads(replies[0]) == {"item": 0, "leave": True, **reply}
    assert len(replies) == 2  # no verdict on the second; the last line is the limits'


@pytest.mark.parametrize(("text", "left"), [("leave a daemon", True), ("start a process", True), ("die later", False)])
def test_it_leaves_when_something_goes_on(text: str, left: bool) -> None:
    reply = json.loads(talk(text, "ok")[0])
    assert reply["verdict"]["status"] == "wrong"
    assert reply["leave"] is True
    assert reply.get("left", False) is left


def test_a_long_verdict_is_a_fault() -> None:
    reply = talk("give a long answer")[0]
    assert len(reply) < MAX_REPLY_BYTES
    assert json.loads(reply)["raised"] == "the verdict is too long"


def test_limits_are_checked() -> None:
    assert GraderLimits.from_json({}) == GraderLimits()
    for wrong in ({"wall_s": 0}, {"cpu_s": -1.0}, {"memory_bytes": 0}, {"output": 1}):
        with pytest.raises(IntegrityError):
            GraderLimits.from_json(wrong)
