"""A keeper that dies, hangs or cannot be reached is lost, and leaves nothing."""

import json
import os
import signal
from collections.abc import Iterator

import pytest
from hostile_task import PROBLEM

from spiritsafe.tasks.grading import keeper as grader_keeper
from spiritsafe.tasks.grading.keeper import Keeper, KeeperLost
from spiritsafe.tasks.grading.worker import GraderLimits

LIMITS = GraderLimits(wall_s=0.3)


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeper]:
    monkeypatch.setattr(grader_keeper, "_GRACE_S", 0.4)
    monkeypatch.setattr(grader_keeper, "_PARTING_S", 2.0)
    keeper = Keeper("hostile_task:HostileTask", LIMITS)
    assert keeper.first()["ready"][0].startswith("hostile_task:HostileTask?sha256=")
    yield keeper
    keeper.close()
    assert not os.path.exists(keeper._scratch)
    with pytest.raises(ProcessLookupError):
        os.kill(keeper._process.pid, 0)


def request(text: str) -> bytes:
    return json.dumps({"problem": PROBLEM.to_json(), "text": text}).encode() + b"\n"


def test_several_requests_under_way(keeper: Keeper) -> None:
    for number, text in enumerate(("ok", "no", "x" * 1_000_000)):
        keeper.send(request(text), num_before=number)
    assert [keeper.receive()["verdict"]["status"] for _ in range(3)] == ["correct", "wrong", "wrong"]
    assert keeper.num_served == 3


def test_one_that_dies_is_lost(keeper: Keeper) -> None:
    os.kill(keeper._process.pid, signal.SIGKILL)
    with pytest.raises(KeeperLost, match="the keeper died"):
        keeper.receive()
    keeper._process.exit_status()
    with pytest.raises(KeeperLost, match="the keeper died"):
        keeper.send(request("ok"), num_before=0)


def test_one_that_hangs_is_lost(keeper: Keeper) -> None:
    os.kill(keeper._process.pid, signal.SIGSTOP)
    with pytest.raises(KeeperLost, match="takes no requests"):
        keeper.send(request("x" * 1_000_000), num_before=0)
    with pytest.raises(KeeperLost, match="the keeper hangs"):
        keeper.receive()


def test_a_task_that_cannot_be_built_is_said() -> None:
    keeper = Keeper("hostile_task:unbuildable", LIMITS)
    assert "RuntimeError: not in a child" in keeper.first()["failed"]
    keeper.close()
