"""One step of learning by reward: spiritsafe against TRL's GRPOTrainer, seconds a step.

    python bench/grpo/run.py MODEL_DIRECTORY --out bench/results/grpo-<machine>.json

Gates before any timing: the same rollouts (padded, ended, cut, of one token) into both losses give the same
log-probabilities, loss and gradient, for each kind of loss; and two updates at a rate of 1e-6 change the weights, of
ours and of each configuration of the peer. A failed gate ends the bench. Then blocks in the order A B B A, each in a
process of its own, the first steps of each left out; every configuration of the peer is run, and its fastest valid one
is the one compared with. Both draw 2 prompts × 8 samples of at most 64 tokens at temperature 1 and make one AdamW
update, without KL. The reward is a hash of the text, the same function on both sides: no group is without advantage, so
neither side is spared any work (ours would drop such groups, the peer trains on them).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from peer import INVALID, LEARNING_RATE, PEERS, changed_share, landed_peer, reward_of_text, time_peer

sys.path.append(str(Path(__file__).parent.parent))  # where machine.py is
from machine import describe_machine

OURS = {"ours": "auto", "ours-float32": "float32"}
"""Our blocks and the dtype that each computes in; master weights are float32 in both."""
TOPICS = ("the sea", "a lighthouse", "winter", "bread", "a small town", "the moon", "trains", "a garden")


def make_prompts(count: int) -> list[str]:
    """Open questions, so that most completions run to the limit."""
    return [
        f"Write a short story about {TOPICS[i % len(TOPICS)]} and the number {i}." + " Use plain words." * (i % 2)
        for i in range(count)
    ]


def make_problems(count: int) -> list[Any]:
    """The prompts whose bucket may be trained on, as problems; the peer gets the same texts."""
    from spiritsafe.core.records import Message, Problem
    from spiritsafe.tasks.splits import split_of

    problems = (
        Problem(task="bench:hash", canonical_text=text, messages=(Message(role="user", content=text),))
        for text in make_prompts(4 * count + 50)
    )
    return list(itertools.islice((p for p in problems if split_of(p) == "train"), count))


class HashTask:
    """Grades by :func:`reward_of_text`."""

    name, version = "bench:hash", "1"

    @property
    def verifier(self) -> HashTask:
        return self

    def grade(self, problem: Any, text: str) -> Any:
        from spiritsafe.core.records import Verdict

        return Verdict(status="wrong", score=reward_of_text(text), answer=text, verifier=self.name, version="1")


def our_configs(args: argparse.Namespace, num_steps: int, dtype: str) -> tuple[Any, Any]:
    from spiritsafe.core.records import Sampling
    from spiritsafe.reinforce import PolicyLoss, ReinforceConfig, RewardConfig
    from spiritsafe.training import TrainConfig

    config = ReinforceConfig(
        prompts_per_round=args.num_prompts,
        group_size=args.group_size,
        num_rounds=num_steps,
        sampling=Sampling(temperature=1.0, max_tokens=args.tokens),
        loss=PolicyLoss(method="dapo", scale="none"),
        reward=RewardConfig(partial=True, grades_truncated=True),
        refills=0,
    )
    train_config = TrainConfig(
        learning_rate=LEARNING_RATE,
        tokens_per_step=args.micro_batch_tokens,
        micro_batch_tokens=args.micro_batch_tokens,
        max_steps=num_steps,
        warmup_steps=0,
        floor_share=1.0,
        weight_decay=0.0,
        betas=(0.9, 0.999),
        compute_dtype=dtype,
        checkpoint_every_s=None,
    )
    return config, train_config


def run_ours(args: argparse.Namespace, num_steps: int, dtype: str) -> tuple[Any, list[float], dict[str, Any]]:
    """Our run; ends of steps; the weights before and after."""
    import torch

    from spiritsafe.models.transformers_backend.loading import load_model
    from spiritsafe.reinforce import reinforce

    loaded = load_model(args.model, dtype=torch.float32, device=args.device, implementation="decoder")
    before = {name: parameter.detach().clone() for name, parameter in loaded.model.named_parameters()}
    config, train_config = our_configs(args, num_steps, dtype)
    ends: list[float] = []

    class Clock:
        def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
            pass

        def metrics(self, kind: str, values: dict[str, Any]) -> None:
            if kind == "train_step":
                ends.append(time.perf_counter())

    problems = make_problems(args.num_prompts * num_steps)
    with tempfile.TemporaryDirectory() as directory:
        result = reinforce(
            loaded, HashTask(), problems, config, train_config, directory=Path(directory), events=Clock()
        )
    after = {name: parameter.detach() for name, parameter in loaded.model.named_parameters()}
    return result, ends, {"before": before, "after": after}


def time_ours(args: argparse.Namespace, dtype: str) -> dict[str, Any]:
    result, ends, _ = run_ours(args, args.warmup + args.steps, dtype)
    rows, curve = result.rounds[args.warmup :], result.training.curve[args.warmup :]
    seconds = [after - before for before, after in itertools.pairwise(ends)][args.warmup - 1 :]
    lengths = [row["supervised_tokens"] for row in curve]
    drawn = [row["draw_seconds"] for row in rows]
    graded = [row["grade_seconds"] for row in rows]
    return {
        "seconds": seconds,
        "rollout_seconds": drawn,
        "reward_seconds": graded,
        "training_seconds": [s - d - g for s, d, g in zip(seconds, drawn, graded, strict=True)],
        "completion_tokens": lengths,
        "mean_completion_tokens": statistics.fmean(lengths) / (args.num_prompts * args.group_size),
        "gap": [row["gap"] for row in curve],
        "entropy": [row["entropy"] for row in curve],
        "changed_share": [row["changed_share"] for row in curve],
        "last_grad_norm": curve[-1]["grad_norm"],
    }


def landed_ours(args: argparse.Namespace, dtype: str) -> dict[str, Any]:
    """Share of weights changed by two updates: of those that the run ends with, float32 whatever it computes in.

    A copy in bfloat16 that the run computes with changes where a weight has moved on to another bfloat16 number: later,
    and nothing is lost. The log counts changes of that.
    """
    from spiritsafe.training.device import choose_dtype

    result, _, weights = run_ours(args, 2, dtype)
    return {
        "changed_share": changed_share(weights["before"], weights["after"]),
        "logged_by_step": [row["changed_share"] for row in result.training.curve],
        "compute_dtype": str(choose_dtype(dtype, next(iter(weights["after"].values())).device)),
    }


def run_block(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """One block in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--block", name]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads), "TOKENIZERS_PARALLELISM": "false"}
    started = os.getloadavg()[0]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        return {"name": name, "error": done.stderr[-4000:]}
    return {"name": name, "load_before": started, **json.loads(done.stdout.splitlines()[-1])}


def do_block(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    torch.set_num_threads(args.threads)
    what, _, name = args.block.rpartition(":")
    texts = [p.canonical_text for p in make_problems(args.num_prompts * (args.warmup + args.steps + 2))]
    if name == "gate":
        from gate import gate

        return gate(args, texts)
    if what == "landed":
        return landed_ours(args, OURS[name]) if name in OURS else landed_peer(args, texts, name)
    return time_ours(args, OURS[name]) if name in OURS else time_peer(args, texts, name)


def summarise(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over all steps; ours against the fastest valid configuration of the peer."""
    good = [block for block in blocks if "error" not in block]
    rows: dict[str, dict[str, float]] = {}
    for name in sorted({block["name"] for block in good}):
        own = [block for block in good if block["name"] == name]
        rows[name] = {
            key: round(statistics.median(value for block in own for value in block[key]), 3)
            for key in ("seconds", "rollout_seconds", "reward_seconds", "training_seconds", "completion_tokens")
        }
        rows[name]["completion_tokens_per_s"] = round(
            sum(sum(b["completion_tokens"]) for b in own) / sum(sum(b["seconds"]) for b in own), 2
        )
    peers = [name for name in rows if name in PEERS and name not in INVALID]
    if "ours" not in rows or not peers:
        return {"medians": rows}
    best = min(peers, key=lambda name: rows[name]["seconds"])
    same = min((n for n in peers if n.endswith("float32")), key=lambda n: rows[n]["seconds"], default=None)
    return {
        "medians": rows,
        "best_peer": best,
        "peer_seconds_over_ours": round(rows[best]["seconds"] / rows["ours"]["seconds"], 3),
        "tokens_per_s_over_best_peer": round(
            rows["ours"]["completion_tokens_per_s"] / rows[best]["completion_tokens_per_s"], 3
        ),
        "float32_peer_seconds_over_ours": (
            round(rows[same]["seconds"] / rows["ours-float32"]["seconds"], 3)
            if same and "ours-float32" in rows
            else None
        ),
    }


def without_load(machine: dict[str, Any]) -> dict[str, Any]:
    """What stays the same from one run to the next."""
    return {key: value for key, value in machine.items() if key not in ("date", "load_average", "commit", "command")}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, help="a Hugging Face directory, SmolLM2-135M for the published numbers")
    parser.add_argument("--out", type=Path, required=True, help="raw results as JSON")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--num-prompts", type=int, default=2)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64, help="most tokens of a completion")
    parser.add_argument("--micro-batch-tokens", type=int, default=2048, help="of ours; the peer takes all at once")
    parser.add_argument("--warmup", type=int, default=1, help="steps left out, at least 1")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1, help="how often A B B A is repeated")
    parser.add_argument("--ours", nargs="+", choices=sorted(OURS), default=list(OURS))
    parser.add_argument("--peers", nargs="+", choices=sorted(PEERS), default=list(PEERS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-load", type=float, default=0.5, help="highest load average to start at")
    parser.add_argument("--gates-only", action="store_true", help="no timing")
    parser.add_argument("--gates-from", type=Path, help="an earlier result of this machine whose gates are taken over")
    parser.add_argument("--block", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    args = parse()
    if args.block:
        print(json.dumps(do_block(args)))
        return 0
    load = os.getloadavg()[0]
    if not args.gates_only and load > args.max_load:
        print(f"The load average is {load:.2f}: times would say nothing. Wait, or raise --max-load.", file=sys.stderr)
        return 1
    result: dict[str, Any] = {
        "bench": "grpo",
        "machine": describe_machine("transformers", "trl", "spiritsafe", device=args.device, threads=args.threads),
        "arguments": {k: v.name if isinstance(v, Path) else v for k, v in vars(args).items()},
        "invalid_peers": {"batching": "its rollout casts the weights in training to bfloat16; see landed"},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.gates_from:
        earlier = json.loads(args.gates_from.read_text("utf-8"))
        if without_load(earlier["machine"]) != without_load(result["machine"]):
            print(f"The gates of {args.gates_from} are of another machine or other versions.", file=sys.stderr)
            return 1
        result |= {key: earlier[key] for key in ("gate", "landed")}
    else:
        result["gate"] = run_block(args, "gate")
        print("gate:", json.dumps(result["gate"], indent=2), flush=True)
        result["landed"] = {name: run_block(args, f"landed:{name}") for name in [*args.ours, *args.peers]}
        print("landed:", json.dumps(result["landed"], indent=2), flush=True)
    landed = [result["landed"][name].get("changed_share", 0.0) for name in args.ours]
    passed = bool(result["gate"].get("passed")) and min(landed) >= 0.97
    result["blocks"] = []
    if passed and not args.gates_only:
        for name in [n for peer in args.peers for n in (*args.ours, peer, peer, *args.ours)] * args.rounds:
            result["blocks"].append(run_block(args, name))
            print(name, "failed" if "error" in result["blocks"][-1] else "done", flush=True)
            args.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
        result["summary"] = summarise(result["blocks"])
        print(json.dumps(result["summary"], indent=2))
    args.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
