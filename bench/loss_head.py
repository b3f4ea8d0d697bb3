"""The loss head alone, forward and backward: spiritsafe against TRL's chunked head and a naive one.

    python bench/loss_head.py --out bench/results/loss-head-<machine>.json
    python bench/loss_head.py --device cuda --dtype bfloat16 --rows 8192 --vocab 151936 --student-width 4096 \
        --teacher-width 4096 --out bench/results/loss-head-<machine>.json

Gate before any timing: loss and both gradients of each at N = 256 against float64 of the same inputs. Then blocks in
the order ours, TRL, naive, ours, TRL, naive, each in a process of its own. On a CPU: process CPU-seconds (all threads),
wall time, and the resident set's high-water mark above inputs and weights. On a GPU: CUDA events, the allocator's peak
above inputs and weights, and the floor: the four matrix products alone, in the same rows at a time.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from machine import describe_machine

BETA = {"forward_kl": 0.0, "reverse_kl": 1.0, "jsd": 0.5}
GATE_ROWS = 256


class Inputs:
    """Hidden states, heads, targets and row weights; logits as spread out as a trained model's."""

    def __init__(self, args: argparse.Namespace, rows: int, vocab: int) -> None:
        dtype, device = getattr(torch, args.dtype), args.device
        generator = torch.Generator(device).manual_seed(args.seed)

        def draw(*shape: int, size: float) -> Tensor:
            # a slice at a time, so that no float32 copy raises the high-water mark
            out = torch.empty(*shape, dtype=dtype, device=device)
            for part in out.split(4096):
                part.copy_(torch.randn(part.shape, generator=generator, device=device) * size)
            return out

        self.hidden = draw(rows, args.student_width, size=1.0)
        self.weight = draw(vocab, args.student_width, size=2.0 / args.student_width**0.5)
        self.teacher_hidden = draw(rows, args.teacher_width, size=1.0)
        self.teacher_weight = draw(vocab, args.teacher_width, size=2.0 / args.teacher_width**0.5)
        self.targets = torch.randint(vocab, (rows,), generator=generator, device=device)


Run = Callable[[argparse.Namespace, Inputs], tuple[Tensor, Tensor, Tensor]]
"""Loss (mean over rows) and the gradients of hidden states and head."""


def run_ours(args: argparse.Namespace, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    from spiritsafe.distil.losses.divergences import LossMix
    from spiritsafe.distil.losses.exact_head import distil_head
    from spiritsafe.distil.signal import TeacherRows

    rows = inputs.hidden.shape[0]
    grad_weight = torch.zeros(inputs.weight.shape, dtype=torch.float32, device=args.device)
    result = distil_head(
        inputs.hidden,
        inputs.weight,
        TeacherRows(hidden_RG=inputs.teacher_hidden, weight_UG=inputs.teacher_weight),
        inputs.targets,
        torch.full((rows,), 1.0 / rows, device=args.device),
        mix=LossMix(**{args.loss: 1.0}),
        grad_weight_VH=grad_weight,
        logits_bytes=args.logits_bytes,
    )
    return result.loss, result.grad_hidden_RH, grad_weight


def run_trl(args: argparse.Namespace, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

    hidden, weight = inputs.hidden.detach().requires_grad_(), inputs.weight.detach().requires_grad_()
    divergence, _ = ChunkedDivergenceFunction.apply(
        hidden, weight, None, inputs.teacher_hidden, inputs.teacher_weight, None, BETA[args.loss], 1.0
    )
    loss = divergence.mean()
    loss.backward()
    return loss.detach(), hidden.grad, weight.grad


def divergence_of(student_logits: Tensor, teacher_logits: Tensor, loss: str) -> Tensor:
    """Mean over rows, as one writes it first."""
    log_q, log_p = torch.log_softmax(student_logits, 1), torch.log_softmax(teacher_logits, 1)
    if loss == "forward_kl":
        return (log_p.exp() * (log_p - log_q)).sum(1).mean()
    if loss == "reverse_kl":
        return (log_q.exp() * (log_q - log_p)).sum(1).mean()
    log_m = torch.logaddexp(log_p, log_q) - torch.log(torch.tensor(2.0, dtype=log_p.dtype))
    return 0.5 * (log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)).sum(1).mean()


def run_naive(args: argparse.Namespace, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    hidden, weight = inputs.hidden.detach().requires_grad_(), inputs.weight.detach().requires_grad_()
    with torch.no_grad():
        teacher_logits = (inputs.teacher_hidden @ inputs.teacher_weight.T).float()
    loss = divergence_of((hidden @ weight.T).float(), teacher_logits, args.loss)
    loss.backward()
    return loss.detach(), hidden.grad, weight.grad


def run_floor(args: argparse.Namespace, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    """The four products alone, in the inputs' dtype."""
    rows, vocab = inputs.hidden.shape[0], inputs.weight.shape[0]
    grad_hidden, grad_weight = torch.empty_like(inputs.hidden), torch.empty_like(inputs.weight)
    most = min(rows, args.floor_rows)
    student, teacher = inputs.hidden.new_empty(most, vocab), inputs.hidden.new_empty(most, vocab)
    for start in range(0, rows, most):
        span = slice(start, min(start + most, rows))
        count = span.stop - span.start
        torch.mm(inputs.hidden[span], inputs.weight.T, out=student[:count])
        torch.mm(inputs.teacher_hidden[span], inputs.teacher_weight.T, out=teacher[:count])
        torch.mm(student[:count], inputs.weight, out=grad_hidden[span])
        torch.mm(student[:count].T, inputs.hidden[span], out=grad_weight)
    return grad_hidden.new_zeros(()), grad_hidden, grad_weight


RUNS: dict[str, Run] = {"ours": run_ours, "trl": run_trl, "naive": run_naive, "floor": run_floor}


def gate(args: argparse.Namespace) -> dict[str, Any]:
    """Relative errors of the loss and both gradients against float64."""
    inputs = Inputs(args, GATE_ROWS, args.gate_vocab)
    exact = argparse.Namespace(**vars(inputs))
    for name in ("hidden", "weight", "teacher_hidden", "teacher_weight"):
        setattr(exact, name, getattr(inputs, name).double())
    hidden, weight = exact.hidden.requires_grad_(), exact.weight.requires_grad_()
    loss = divergence_of(hidden @ weight.T, exact.teacher_hidden @ exact.teacher_weight.T, args.loss)
    loss.backward()
    allowed = 1e-5 if args.dtype == "float32" else 1e-2
    found: dict[str, Any] = {}
    for name in ("ours", "trl", "naive"):
        value, grad_hidden, grad_weight = RUNS[name](args, inputs)
        errors = {
            "loss": abs(float(value) / float(loss.detach()) - 1.0),
            "grad_hidden": float((grad_hidden.double() - hidden.grad).norm() / hidden.grad.norm()),
            "grad_weight": float((grad_weight.double() - weight.grad).norm() / weight.grad.norm()),
        }
        found[name] = {**errors, "passed": max(errors.values()) <= allowed}
    return {"allowed": allowed, "rows": GATE_ROWS, "vocab": args.gate_vocab, "systems": found}


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def high_water_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure_cpu(args: argparse.Namespace, run: Run, inputs: Inputs) -> dict[str, Any]:
    """One call; its libraries were warmed on a small problem."""
    run(args, Inputs(args, 8, 512))
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    base, used, started = resident_bytes(), cpu_seconds(), time.perf_counter()
    kept = run(args, inputs)
    found = {"wall_s": time.perf_counter() - started, "cpu_s": cpu_seconds() - used}
    del kept
    return {**found, "extra_bytes": high_water_bytes() - base}


def measure_cuda(args: argparse.Namespace, run: Run, inputs: Inputs) -> dict[str, Any]:
    times = []
    for _ in range(args.warmup):
        run(args, inputs)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    base = torch.cuda.memory_allocated()
    for _ in range(args.repeats):
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        run(args, inputs)
        after.record()
        torch.cuda.synchronize()
        times.append(before.elapsed_time(after) / 1e3)
    return {"wall_s": statistics.median(times), "all_s": times, "extra_bytes": torch.cuda.max_memory_allocated() - base}


def run_block(name: str, *more: str) -> dict[str, Any]:
    """One block in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--block", name, *more], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        return {"name": name, "error": done.stderr[-4000:] or f"exit status {done.returncode}"}
    return {"name": name, **json.loads(done.stdout.splitlines()[-1])}


def summarise(blocks: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """Medians, and each system's over ours."""
    medians: dict[str, dict[str, float]] = {}
    for name in names:
        mine = [block for block in blocks if block["name"] == name and "error" not in block]
        if mine:
            keys = [key for key in ("cpu_s", "wall_s", "extra_bytes") if key in mine[0]]
            medians[name] = {key: statistics.median(block[key] for block in mine) for key in keys}
    ours = medians.get("ours", {})
    ratios = {
        name: {key: round(value / ours[key], 3) for key, value in found.items()}
        for name, found in medians.items()
        if name != "ours" and ours
    }
    return {"medians": medians, "peer_over_ours": ratios}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="raw results as JSON")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--loss", choices=sorted(BETA), default="forward_kl")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rows", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--vocab", type=int, nargs="+", default=[49152, 151936])
    parser.add_argument("--student-width", type=int, default=896)
    parser.add_argument("--teacher-width", type=int, default=1536)
    parser.add_argument("--logits-bytes", type=int, help="our budget; by device if not given")
    parser.add_argument("--systems", nargs="+", choices=["trl", "naive"], default=["trl", "naive"])
    parser.add_argument("--rounds", type=int, default=2, help="how often the systems take turns")
    parser.add_argument("--warmup", type=int, default=5, help="calls left out, on a GPU")
    parser.add_argument("--repeats", type=int, default=20, help="calls in a block, on a GPU")
    parser.add_argument("--floor-rows", type=int, default=4096, help="rows at a time in the floor, on a GPU")
    parser.add_argument("--gate-vocab", type=int, default=49152)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--block", help=argparse.SUPPRESS)
    parser.add_argument("--block-rows", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--block-vocab", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    args = parse()
    if args.block:
        torch.set_num_threads(args.threads)
        if args.block == "gate":
            print(json.dumps(gate(args)))
            return 0
        measure = measure_cuda if args.device == "cuda" else measure_cpu
        print(json.dumps(measure(args, RUNS[args.block], Inputs(args, args.block_rows, args.block_vocab))))
        return 0
    result: dict[str, Any] = {
        "machine": describe_machine("trl", device=args.device, threads=args.threads),
        "arguments": {k: str(v) for k, v in vars(args).items()},
    }
    result["gate"] = run_block("gate")
    print("gate:", json.dumps(result["gate"], indent=2), flush=True)
    passed = [name for name, found in result["gate"].get("systems", {}).items() if found["passed"]]
    names = [name for name in ("ours", *args.systems) if name in passed]
    result["different_objective"] = [name for name in ("ours", *args.systems) if name not in passed]
    names += ["floor"] if args.device == "cuda" else []
    result["sizes"] = []
    for rows, vocab in itertools.product(args.rows, args.vocab):
        blocks = [
            run_block(name, "--block-rows", str(rows), "--block-vocab", str(vocab)) for name in names * args.rounds
        ]
        summary = summarise(blocks, names)
        print(rows, vocab, json.dumps(summary, indent=2), flush=True)
        result["sizes"].append({"rows": rows, "vocab": vocab, "blocks": blocks, "summary": summary})
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 0 if "ours" in passed else 1


if __name__ == "__main__":
    sys.exit(main())
