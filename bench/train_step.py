"""A whole distillation step: spiritsafe (packed) against TRL's GKD loss on transformers' models (padded).

    python bench/train_step.py --out bench/results/train-step-cpu.json
    python bench/train_step.py --device cuda --dtype bfloat16 --sequences 8 --length 2048 --equal-lengths \
        --out bench/results/train-step-<machine>.json

Teacher forward, student forward, loss, backward, AdamW; teacher and student have SmolLM2-135M's shape and random
weights (speed and memory do not depend on them), the same on both sides. Gate before any timing: in float32 both
compute the same loss and gradient norm over the same documents. Then blocks in the order ours, TRL, ours, TRL, each in
a process of its own, the first steps of each left out. Tokens are those of the documents: padding counts for nobody.
Memory: a GPU allocator's peak, or the resident set's high-water mark, whole and above what lay there before the steps.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from machine import describe_machine

SMOLLM2_135M: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "initializer_range": 0.041666666666666664,
}
LEARNING_RATE = 1e-4


def shape(args: argparse.Namespace) -> dict[str, Any]:
    """SmolLM2-135M's, with fewer layers or tokens if asked."""
    return {**SMOLLM2_135M, "num_hidden_layers": args.layers, "vocab_size": args.vocab}


def make_documents(args: argparse.Namespace) -> list[tuple[list[int], list[int]]]:
    """Token ids and labels: one document of the full length, the others log-normal; a prompt of a third."""
    rng = random.Random(args.seed)
    documents = []
    for number in range(args.sequences):
        length = args.length
        if number and not args.equal_lengths:
            length = min(max(12, round(rng.lognormvariate(math.log(0.4 * args.length), 0.6))), args.length)
        tokens = [rng.randrange(args.vocab) for _ in range(length)]
        documents.append((tokens, [-100] * (length // 3) + tokens[length // 3 :]))
    return documents


def num_targets(documents: list[tuple[list[int], list[int]]]) -> int:
    return sum(label != -100 for _, labels in documents for label in labels[1:])


Step = Callable[[], float]
"""Forward and backward of one batch; gives the loss."""


def make_ours(args: argparse.Namespace, directory: Path, dtype: torch.dtype) -> tuple[torch.nn.Module, Step]:
    from spiritsafe.distil import DistilObjective, LiveTeacher, LossMix
    from spiritsafe.models.decoder.config import DecoderConfig
    from spiritsafe.models.decoder.module import Decoder
    from spiritsafe.models.interface.batch import Document, pack_documents

    del directory
    config = DecoderConfig.from_hf(shape(args))
    student, teacher = (Decoder(config, seed=seed, dtype=dtype).to(args.device) for seed in (1, 2))
    if args.compile:
        student.compile_blocks()
        teacher.compile_blocks()
    documents = make_documents(args)
    batch = pack_documents(
        [Document(token_ids=tuple(t), supervised=tuple(label != -100 for label in labels)) for t, labels in documents]
    ).to(args.device)
    mix = LossMix(forward_kl=1.0) if args.beta == 0.0 else LossMix(jsd=1.0, jsd_beta=args.beta)
    objective, count = DistilObjective(LiveTeacher(teacher), mix), float(num_targets(documents))
    return student, lambda: float(objective(student, batch, count).loss)


def make_trl(args: argparse.Namespace, directory: Path, dtype: torch.dtype) -> tuple[torch.nn.Module, Step]:
    """TRL's loss as its trainer calls it (``GKDTrainer.compute_loss``), on padded sequences."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    from transformers import AutoModelForCausalLM
    from trl.experimental.gkd import GKDTrainer

    from spiritsafe.models.decoder.config import DecoderConfig
    from spiritsafe.models.decoder.module import Decoder

    models = []
    for seed in (1, 2):
        Decoder(DecoderConfig.from_hf(shape(args)), seed=seed, dtype=dtype).save_weights(directory)
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation="sdpa")
        models.append(model.to(args.device))
    student, teacher = models
    documents = make_documents(args)
    longest = max(len(tokens) for tokens, _ in documents)
    rows = [(t + [0] * (longest - len(t)), lab + [-100] * (longest - len(t)), len(t)) for t, lab in documents]
    ids = torch.tensor([row[0] for row in rows], device=args.device)
    labels = torch.tensor([row[1] for row in rows], device=args.device)
    mask = torch.tensor([[1] * row[2] + [0] * (longest - row[2]) for row in rows], device=args.device)
    count = num_targets(documents)

    def step() -> float:
        student_logits = student(input_ids=ids, attention_mask=mask).logits
        with torch.no_grad():
            teacher_logits = teacher(input_ids=ids, attention_mask=mask).logits
        loss = GKDTrainer.generalized_jsd_loss(
            student_logits=student_logits[:, :-1],
            teacher_logits=teacher_logits[:, :-1],
            labels=labels[:, 1:],
            beta=args.beta,
            num_items_in_batch=count,
        )
        loss.backward()
        return float(loss.detach())

    return student, step


MAKERS = {"ours": make_ours, "trl": make_trl}


def gate(args: argparse.Namespace) -> dict[str, Any]:
    """Loss and gradient norm in float32, on the first and shortest documents."""
    small = argparse.Namespace(**{**vars(args), "length": min(args.length, 128), "equal_lengths": False})
    small.sequences, small.compile = min(args.sequences, 4), False
    found: dict[str, Any] = {}
    for name, maker in MAKERS.items():
        with tempfile.TemporaryDirectory() as directory:
            model, step = maker(small, Path(directory), torch.float32)
        loss = step()
        grads = [p.grad.double() for p in model.parameters() if p.grad is not None]
        found[name] = {"loss": loss, "grad_norm": float(torch.nn.utils.get_total_norm(grads))}
        del model, step, grads
    differences = {key: abs(found["ours"][key] / found["trl"][key] - 1.0) for key in ("loss", "grad_norm")}
    passed = differences["loss"] < 1e-4 and differences["grad_norm"] < 1e-3
    return {**found, "differences": differences, "passed": passed}


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def high_water_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def time_block(args: argparse.Namespace, name: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        model, step = MAKERS[name](args, Path(directory), getattr(torch, args.dtype))
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()  # its state lies there before the first step that counts
    gc.collect()
    on_gpu = args.device == "cuda"
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    base = torch.cuda.memory_allocated() if on_gpu else resident_bytes()
    seconds, losses = [], []
    for _ in range(args.warmup + args.steps):
        started = time.perf_counter()
        optimiser.zero_grad(set_to_none=False)
        losses.append(step())
        optimiser.step()
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() if on_gpu else high_water_bytes()
    tokens = sum(len(t) for t, _ in make_documents(args))
    return {
        "seconds": seconds[args.warmup :],
        "losses": losses,
        "tokens": tokens,
        "peak_bytes": peak,
        "extra_bytes": peak - base,
    }


def run_block(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """One block in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    command = [sys.executable, __file__, *sys.argv[1:], "--block", name]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        return {"name": name, "error": done.stderr[-4000:] or f"exit status {done.returncode}"}
    return {"name": name, **json.loads(done.stdout.splitlines()[-1])}


def summarise(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, dict[str, float]] = {}
    for name in MAKERS:
        mine = [block for block in blocks if block["name"] == name and "error" not in block]
        if mine:
            seconds = statistics.median(second for block in mine for second in block["seconds"])
            found[name] = {
                "tokens_per_s": round(mine[0]["tokens"] / seconds, 2),
                "peak_bytes": statistics.median(block["peak_bytes"] for block in mine),
                "extra_bytes": statistics.median(block["extra_bytes"] for block in mine),
            }
    if len(found) < len(MAKERS):
        return found
    ours, peer = found["ours"], found["trl"]
    return {
        **found,
        "ratio_tokens_per_s": round(ours["tokens_per_s"] / peer["tokens_per_s"], 3),
        "ratio_peak": round(ours["peak_bytes"] / peer["peak_bytes"], 3),
        "ratio_extra": round(ours["extra_bytes"] / peer["extra_bytes"], 3),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="raw results as JSON")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--length", type=int, default=256, help="of the longest document")
    parser.add_argument("--equal-lengths", action="store_true", help="all documents have the full length")
    parser.add_argument("--beta", type=float, default=0.5, help="of TRL's GKD loss; 0: forward KL")
    parser.add_argument("--layers", type=int, default=SMOLLM2_135M["num_hidden_layers"])
    parser.add_argument("--vocab", type=int, default=SMOLLM2_135M["vocab_size"])
    parser.add_argument("--compile", action="store_true", help="compile our models' blocks")
    parser.add_argument("--warmup", type=int, default=2, help="steps left out")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2, help="how often the two take turns")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--block", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    args = parse()
    if args.block:
        torch.set_num_threads(args.threads)
        print(json.dumps(gate(args) if args.block == "gate" else time_block(args, args.block)))
        return 0
    result: dict[str, Any] = {
        "machine": describe_machine("transformers", "trl", device=args.device, threads=args.threads),
        "arguments": {k: str(v) for k, v in vars(args).items()},
    }
    result["gate"] = run_block(args, "gate")
    print("gate:", json.dumps(result["gate"], indent=2), flush=True)
    passed = bool(result["gate"].get("passed"))
    result["blocks"] = []
    for name in [*MAKERS] * args.rounds if passed else []:
        result["blocks"].append(run_block(args, name))
        print(name, "failed" if "error" in result["blocks"][-1] else "done", flush=True)
    result["summary"] = summarise(result["blocks"])
    print(json.dumps(result["summary"], indent=2))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
