"""A run that is told to one tracker, goes on, and is read back by the tracker's own library.

``python tracked_program.py NAME FOLDER`` prints the points that the library holds as JSON: [curve, step, value].
It is a process of its own because these libraries change the process that they are imported in.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spiritsafe.core.events import EventLog, NullSink
from spiritsafe.tracking.registry import TrackedRun
from spiritsafe.tracking.run import Tracking

HASH = "0123456789abcdef" * 4
RUN = "some-run-0123456789ab"
SITTINGS: tuple[tuple[tuple[str, str, dict[str, Any]], ...], ...] = (
    (
        ("teacher", "train_step", {"step": 1, "loss": 2.5, "tokens": 512, "seconds": 0.1234, "fits": True}),
        ("teacher", "train_step", {"step": 2, "loss": 1e-9, "tokens": 0, "evaluation": {"dev_right": 3.0, "x": None}}),
        ("teacher", "stage", {"seconds": 7.5, "peak_bytes": 123, "summary": "2 steps"}),
        ("rl", "reinforce_round", {"round": 0, "reward_mean": 0.25, "entropy": None, "dev_step": 4}),
        ("rl", "train_step", {"step": 1, "loss": -0.125}),
        ("rl", "alarm", {"round": 0, "name": "spent"}),
        ("on-policy", "on_policy_round", {"round": 0, "num_kept": 3}),
    ),
    (  # what was done after the last checkpoint is done again
        ("rl", "train_step", {"step": 1, "loss": -0.125}),
        ("rl", "train_step", {"step": 2, "loss": 3.0e20}),
        ("rl", "warning", {"message": "step 3"}),
    ),
)


def main(name: str, folder: Path) -> None:
    log = folder / "events.jsonl"
    run = TrackedRun(name=RUN, id=HASH, project="my-project", directory=folder)
    warnings = EventLog(log, stage="run")
    for sitting in SITTINGS:
        time.sleep(1.1)  # wandb names a folder by the second, and opens it whenever its thread comes to that
        with Tracking([name], run, log=warnings, watcher=NullSink(), close_s=900) as tracking:
            for stage, kind, values in sitting:
                EventLog(log, stage=stage, forward=tracking.heard(stage, NullSink())).metrics(kind, values)
    sys.stdout.write(json.dumps(sorted(READERS[name](folder))))


def _tensorboard(folder: Path) -> Iterator[tuple[str, int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for path in sorted((folder / "tensorboard").iterdir()):
        events = EventAccumulator(str(path), size_guidance={"scalars": 0})
        events.Reload()
        for curve in events.Tags()["scalars"]:
            yield from ((curve, one.step, one.value) for one in events.Scalars(curve))


def _mlflow(folder: Path) -> Iterator[tuple[str, int, float]]:
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("my-project")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == (RUN, "FINISHED")
    assert run.data.tags.keys() == {"spiritsafe.run", "mlflow.runName"}, run.data.tags
    for curve in run.data.metrics:
        yield from ((curve, one.step, one.value) for one in client.get_metric_history(run.info.run_id, curve))


def _trackio(folder: Path) -> Iterator[tuple[str, int, float]]:
    from trackio.sqlite_storage import SQLiteStorage

    assert SQLiteStorage.get_runs("my-project") == [RUN]
    for row in SQLiteStorage.get_logs("my-project", RUN):
        yield from ((name, row["step"], value) for name, value in row.items() if name not in ("step", "timestamp"))


def _wandb(folder: Path) -> Iterator[tuple[str, int, float]]:
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # its own process may still be writing when a run has been finished, until it ends itself
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for data in _leveldb_records(path.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(data)
            if record.HasField("run"):
                told = record.run
                assert (told.display_name, told.run_id, told.project) == (RUN, HASH[:32], "my-project")
                assert not told.HasField("git")
                assert not told.host
            assert not record.HasField("output_raw")
            assert not record.HasField("stats")
            if not record.HasField("history"):
                continue
            items = {(i.key or "/".join(i.nested_key)): json.loads(i.value_json) for i in record.history.item}
            (axis,) = [name.removesuffix("/step") for name in items if name.endswith("/step")]
            step = items.pop(f"{axis}/step")
            yield from ((name, step, value) for name, value in items.items() if not name.startswith("_"))


def _leveldb_records(data: bytes) -> Iterator[bytes]:
    """Records of a ``.wandb`` file: 7 bytes of its own, then LevelDB's log format in blocks of 32 KiB."""
    assert data[:4] == b":W&B"
    place, parts = 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield parts
            parts = b""


READERS = {"tensorboard": _tensorboard, "mlflow": _mlflow, "trackio": _trackio, "wandb": _wandb}

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
