"""What tests of whole runs of reinforcement learning start: sittings that are killed, and pairs of processes.

``kills DIRECTORY SEED`` makes an unbroken run, then runs that are killed with SIGKILL at random moments, ten in all,
and repeated until they end. ``pair DIRECTORY`` makes a run alone and one of two processes under torchrun's launcher.
Each run leaves its weights beside its rounds. One program that forks, so that all load torch once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the program is started by its path

import torch
from reinforce_parts import Arbitrary, config, train_config
from tiny_student import sums_problems, tiny_student
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from spiritsafe.core.records import Sampling
from spiritsafe.reinforce import PolicyLoss, RewardConfig
from spiritsafe.reinforce.run import reinforce
from spiritsafe.training import current_parallel

OF = config(
    num_rounds=6,
    sampling=Sampling(max_tokens=24),
    loss=PolicyLoss(method="dapo"),
    reward=RewardConfig(grades_truncated=True),
)
NUM_KILLS = 10


def one_run(models: Path, directory: Path, *, every_steps: int = 1) -> None:
    """One sitting; at its end the weights are written."""
    loaded = tiny_student(models)
    task = Arbitrary(("correct", "wrong", "wrong"))
    # With a usual eps a weight whose gradient is rounding alone moves by the learning rate, one way or the other: two
    # processes would soon draw other tokens than one.
    settings = train_config(OF, checkpoint_every_steps=every_steps, learning_rate=5e-3, eps=1e-3)
    result = reinforce(loaded, task, sums_problems(24), OF, settings, directory=directory)
    place = current_parallel()
    weights = {name: value.detach() for name, value in loaded.model.named_parameters()}
    for name, value in weights.items():
        others = place.gather(value)
        assert all(torch.equal(others[0], other) for other in others), name
    if place.is_main:
        torch.save(weights, directory / "weights.pt")
        (directory / "curve.json").write_text(json.dumps(list(result.training.curve)))


def fork(work: Callable[[], None]) -> int:
    """Start a child that does the work and ends; its process id."""
    process = os.fork()
    if process:
        return process
    try:
        work()
    except BaseException:  # noqa: BLE001  a forked child must not run its parent's code
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def exit_code(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kills(root: Path, seed: int) -> None:
    """Sittings are killed after a random part of what a run takes, whatever they are doing then."""
    rng = random.Random(seed)
    tiny_student(root)
    started = time.monotonic()
    assert exit_code(fork(partial(one_run, root, root / "unbroken"))) == 0
    whole_s = time.monotonic() - started
    log: list[tuple[int, float]] = []
    number = 0
    while len(log) < NUM_KILLS:
        number += 1
        # A checkpoint after each step, or in the middle of rounds: then a sitting begins with rounds it must read.
        sitting = partial(one_run, root, root / f"killed-{number}", every_steps=rng.choice((1, 3)))
        while True:
            delay_s = rng.uniform(0.05, 0.6) * whole_s
            process = fork(sitting)
            if len(log) < NUM_KILLS:
                time.sleep(delay_s)
                os.kill(process, signal.SIGKILL)
            code = exit_code(process)
            if code == 0:
                break
            assert code == -signal.SIGKILL, code
            log.append((number, round(delay_s, 3)))
    (root / "kills.json").write_text(json.dumps({"runs": number, "kills": log, "whole_s": whole_s}))


def pair(root: Path) -> None:
    """The same run by one process and by two."""
    tiny_student(root)
    assert exit_code(fork(partial(one_run, root, root / "one"))) == 0
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="fork",
        monitor_interval=0.1,
    )
    elastic_launch(launch, one_run)(root, root / "two")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "kills":
        kills(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        pair(Path(sys.argv[2]))
