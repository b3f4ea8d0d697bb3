"""What checkpoints cost training: none, written while training waits, beside it, and beside it as a folder.

    python bench/checkpoints.py --out bench/results/checkpoints-cpu.json

A random Llama trains on random documents; a checkpoint is written after every few steps, whatever it takes, so that its
cost shows. Lanes run in turns (none, waits, beside, folder, folder, beside, ...). A step's period is the time from one
step's report to the next: it holds what the save before it kept training from (the pause), and what the write took from
it beside. Medians; ``in_flight`` are periods that a write ran in, by the writer's own account. Where every core is
busy, a thread beside training takes of training's share, so the wall says little; ``processor_s``, the processor time
of training's own thread, does not depend on what else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from machine import describe_machine
from spiritsafe.core.canonical import JSON
from spiritsafe.models import Decoder, DecoderConfig, Document
from spiritsafe.training import TracesObjective, TrainConfig, train
from spiritsafe.training.checkpoints import writer as checkpoint_writer

LANES = ("none", "waits", "beside", "folder")


class Periods:
    """When each step was reported, and what each write took."""

    def __init__(self) -> None:
        self.reported: list[float] = []
        self.used: list[float] = []
        self.written: list[tuple[float, float]] = []
        self.pauses: list[float] = []

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None: ...

    def metrics(self, kind: str, values: dict[str, JSON]) -> None:
        if kind == "train_step":
            self.reported.append(time.perf_counter())
            self.used.append(time.thread_time())


def model_of(args: argparse.Namespace) -> Decoder:
    config = {
        "model_type": "llama",
        "hidden_size": args.hidden,
        "num_hidden_layers": args.layers,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "intermediate_size": args.hidden * 8 // 3,
        "vocab_size": args.vocab,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "hidden_act": "silu",
    }
    return Decoder(DecoderConfig.from_hf(config), seed=0)


def run_lane(lane: str, args: argparse.Namespace, documents: list[Document]) -> dict[str, Any]:
    periods = Periods()
    writes = {name: getattr(checkpoint_writer, name) for name in ("write_state", "write_folder")}

    def timed(write: Callable[..., None], *given: Any, **named: Any) -> None:
        started = time.perf_counter()
        write(*given, **named)
        periods.written.append((started, time.perf_counter()))

    save = checkpoint_writer.CheckpointWriter.save

    def paused(self: Any, step: int) -> None:
        started = time.perf_counter()
        save(self, step)
        periods.pauses.append(time.perf_counter() - started)

    checkpoint_writer.CheckpointWriter.save = paused  # type: ignore[method-assign]
    for name, write in writes.items():
        setattr(checkpoint_writer, name, partial(timed, write))
    checkpoint_writer.fits_twice = lambda num_bytes: lane != "waits"  # type: ignore[assignment]
    config = TrainConfig(
        learning_rate=1e-4,
        tokens_per_step=args.tokens,
        micro_batch_tokens=args.tokens,
        max_steps=args.steps,
        compute_dtype="float32",
        checkpoint_every_s=None,
        checkpoint_file_bytes=0 if lane == "folder" else 1 << 40,
        checkpoint_every_steps=None if lane == "none" else args.every,
    )
    with tempfile.TemporaryDirectory(dir=args.directory) as directory:
        started = time.perf_counter()
        train(model_of(args), documents, TracesObjective(), config, directory=Path(directory), events=periods)
        whole = time.perf_counter() - started
        size = sum(path.stat().st_size for path in Path(directory).glob("state*/*"))
        size += sum(path.stat().st_size for path in Path(directory).glob("state.pt"))
    for name, write in writes.items():
        setattr(checkpoint_writer, name, write)
    checkpoint_writer.CheckpointWriter.save = save  # type: ignore[method-assign]
    ends = periods.reported
    spans = list(pairwise(ends[1:]))  # the first step warms up
    in_flight = [any(a < end and start < b for start, end in periods.written) for a, b in spans]
    return {
        "lane": lane,
        "periods_s": [round(b - a, 4) for a, b in spans],
        "processor_s": [round(b - a, 4) for a, b in pairwise(periods.used[1:])],
        "in_flight": in_flight,
        "writes_s": [round(end - start, 4) for start, end in periods.written],
        "pauses_s": [round(pause, 4) for pause in periods.pauses],
        "whole_s": round(whole, 3),
        "state_bytes": size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--directory", type=Path, default=None, help="of the checkpoints; their disk is what is timed")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--vocab", type=int, default=8192)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    rng = random.Random(0)
    documents = [
        Document(
            token_ids=tuple(rng.randrange(args.vocab) for _ in range(args.tokens)), supervised=(True,) * args.tokens
        )
        for _ in range(8)
    ]
    load = os.getloadavg()
    rows = []
    for number in range(args.rounds):
        for lane in LANES if number % 2 == 0 else reversed(LANES):
            rows.append(run_lane(lane, args, documents))
            print(json.dumps(rows[-1]), flush=True)
    base = statistics.median(p for row in rows if row["lane"] == "none" for p in row["periods_s"])
    used = statistics.median(p for row in rows if row["lane"] == "none" for p in row["processor_s"])
    summary: dict[str, Any] = {"period_without_s": base, "processor_without_s": used}
    for lane in LANES[1:]:
        mine = [row for row in rows if row["lane"] == lane]
        pairs = [pair for row in mine for pair in zip(row["periods_s"], row["in_flight"], strict=True)]
        extra = sum(period - base for period, _ in pairs)
        num_saves = sum(len(row["writes_s"]) - 1 for row in mine)  # the last step's is not followed by a period
        summary[lane] = {
            "median_period_in_flight_s": statistics.median(p for p, flying in pairs if flying),
            "median_period_otherwise_s": statistics.median(p for p, flying in pairs if not flying),
            "median_write_s": statistics.median(w for row in mine for w in row["writes_s"]),
            "median_pause_s": statistics.median(p for row in mine for p in row["pauses_s"]),
            "training_lost_a_save_s": extra / num_saves,
            "training_lost_share_of_a_write": extra / sum(w for row in mine for w in row["writes_s"][:-1]),
            "training_processor_a_save_s": sum(p - used for row in mine for p in row["processor_s"]) / num_saves,
        }
    print(json.dumps(summary, indent=2))
    result = {
        "bench": "checkpoints",
        "machine": describe_machine(),
        "threads": torch.get_num_threads(),
        "load_before": load,
        "load_after": os.getloadavg(),
        "parameters": sum(p.numel() for p in model_of(args).parameters()),
        "arguments": {name: str(value) for name, value in vars(args).items() if name not in ("out", "directory")},
        "runs": rows,
        "summary": summary,
    }
    args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
