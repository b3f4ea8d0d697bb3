"""Planted contamination, found and not found: what each test says of models of which we know what they studied.

``smollm``: one paper; arm A learns its public half with answers, arm B as many clean problems; both sit, and their
log-probabilities and training files are looked at. ``tiny``: byte-level models with random weights, many clean repeats
(each with a paper, weights and problems of its own) and some planted ones: how often does each test raise an alarm?

python bench/contamination/run.py smollm MODEL --out bench/results/contamination-smollm-cpu.json --keep DIRECTORY
python bench/contamination/run.py tiny --out bench/results/contamination-tiny-cpu.json --keep DIRECTORY
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from parts import Room, clean_problems, fine_tune, sealed_problems, write_training_file

from spiritsafe.exam import OverlapTerms, overlap
from spiritsafe.stats.intervals import clopper_pearson_interval
from spiritsafe.tasks import Task, load_task
from spiritsafe.training import TrainConfig

sys.path.append(str(Path(__file__).parent.parent))  # where machine.py is
from machine import describe_machine

LEVEL = 0.05


def secret_of(*parts: object) -> bytes:
    """A paper's secret, so that the experiment can be repeated; a real paper's is random."""
    return hashlib.sha256("/".join(map(str, ("contamination bench", *parts))).encode()).digest()


def config_of(args: argparse.Namespace, epochs: int, seed: int) -> TrainConfig:
    return TrainConfig(
        learning_rate=args.learning_rate,
        tokens_per_step=args.tokens_per_step,
        micro_batch_tokens=args.tokens_per_step,
        max_epochs=epochs,
        floor_share=0.1,
        weight_decay=0.0,
        seed=seed,
        compute_dtype="float32",
        checkpoint_every_s=None,
    )


def timed(label: str, call: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    value = call()
    told = value if isinstance(value, dict) else {}
    shown = {key: told[key] for key in ("last_loss", "gap_statement") if key in told}
    print(f"{label}: {time.perf_counter() - start:.0f} s {shown or ''}", flush=True)
    if isinstance(value, dict):
        value["seconds"] = round(time.perf_counter() - start, 1)
    return value


def planted_files(room: Room, task: Task, clean: Sequence[Any]) -> dict[str, Any]:
    """What the overlap check says of files into which sealed problems were put; nobody trains on them."""
    planted = sealed_problems(room)[: max(1, room.paper.header.num_sealed // 6)]
    path = write_training_file(room.directory / "leak.jsonl", task, [*clean, *planted])
    report = overlap(
        paper=room.directory / "paper",
        files=[path],
        task=task,
        examiner=room.examiner,
        ledger=room.ledger,
        output=room.directory / "leak.overlap.json",
        terms=OverlapTerms(about="a file with planted sealed problems"),
    ).report
    path.unlink()  # it holds sealed problems
    return {"planted": len(planted), "verdict": report.verdict, "statements": report.statements}


def smollm(args: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Arm A studies the public half, arm B does not."""
    task = load_task(args.task)
    room = timed(
        "seal",
        lambda: Room.make(root, task, count=args.count, twins=True, secret=secret_of("smollm", args.task, args.seed)),
    )
    public = [place.problem for place in room.paper.problems]
    clean = clean_problems(task, seed=args.seed, count=len(public))
    arms: dict[str, Any] = {}
    examine = {"max_tokens": args.max_tokens, "max_batch": args.max_batch}
    arms["base"] = timed("base", lambda: room.examine(args.model, "base", training=[], with_memory=False, **examine))
    for name, problems in (("studied", public), ("clean", clean)):
        target = root / "models" / name
        file = write_training_file(root / f"{name}.jsonl", task, problems)
        config = config_of(args, args.epochs, args.seed)
        trained = timed(
            f"train {name}",
            lambda target=target, problems=problems, name=name, config=config: fine_tune(
                args.model, target, task, problems, name=f"smollm-{name}", config=config
            ),
        )
        arms[name] = timed(
            name,
            lambda target=target, name=name, file=file: room.examine(
                target, name, training=[file], with_memory=not args.skip_memory, **examine
            ),
        )
        arms[name]["training"] = trained
    return {"arms": arms, "planted_in_a_file": planted_files(room, task, clean)}


def tiny(args: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Clean repeats and planted ones, each with weights, a paper and problems of its own."""
    from spiritsafe.models.checkpoints.directory import write_lineage
    from spiritsafe.models.sources.tiny import write_tiny

    task = load_task(args.task)
    repeats: list[dict[str, Any]] = []
    kinds = ["clean"] * args.repeats + ["studied"] * args.planted
    for number, kind in enumerate(kinds):
        start = time.perf_counter()
        directory = root / f"{number:02d}-{kind}"
        room = Room.make(directory, task, count=args.count, twins=False, secret=secret_of("tiny", args.seed, number))
        source = directory / "models" / "random"
        source.mkdir(parents=True)
        write_tiny(source, seed=args.seed + number, hidden_size=args.hidden, max_context=args.context)
        write_lineage(source, name="tiny", license="MIT")
        public = [place.problem for place in room.paper.problems]
        clean = clean_problems(task, seed=args.seed + number, count=len(public))
        problems = public if kind == "studied" else clean
        file = write_training_file(directory / "training.jsonl", task, problems)
        target = directory / "models" / "model"
        config = config_of(args, args.epochs, number)
        trained = fine_tune(source, target, task, problems, name=f"tiny-{kind}", config=config)
        found = room.examine(
            target, "model", training=[file], with_memory=True, max_tokens=args.max_tokens, max_batch=args.max_batch
        )
        found["leak"] = planted_files(room, task, clean)
        repeats.append({"kind": kind, "training": trained, **found})
        print(f"{number + 1}/{len(kinds)} {kind}: p = {found['gap']['p_value']:.3g}, "
              f"{time.perf_counter() - start:.0f} s", flush=True)  # fmt: skip
    return {"alarms": {kind: alarms_of([r for r in repeats if r["kind"] == kind]) for kind in ("clean", "studied")},
            "repeats": repeats}  # fmt: skip


def alarms_of(repeats: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How often each test was significant at 5 %, with an exact interval."""
    tests: dict[str, list[bool]] = {}
    for repeat in repeats:
        tests.setdefault("public-sealed gap", []).append(repeat["gap"]["p_value"] < LEVEL)
        for test in repeat["memory"]["scores"]:
            tests.setdefault(f"{test['method']} of the {test['text']}", []).append(test["p_value"] < LEVEL)
        if repeat["memory"]["order"]:
            tests.setdefault("published order", []).append(repeat["memory"]["order"]["p_value"] < LEVEL)
        public = [f for f in repeat["overlap"]["findings"] if (f["form"], f["kind"]) == ("words", "verbatim")]
        tests.setdefault("overlap: public half", []).append(public[0]["p_public"] < LEVEL)
        tests.setdefault("overlap: sealed half", []).append(repeat["overlap"]["verdict"] != "nothing found")
        tests.setdefault("overlap: sealed problems planted in the file", []).append(
            repeat["leak"]["verdict"] == "sealed problems found"
        )
    out = {}
    for name, alarms in tests.items():
        interval = clopper_pearson_interval(sum(alarms), len(alarms))
        out[name] = {"alarms": sum(alarms), "of": len(alarms), "low": interval.low, "high": interval.high}
    return out


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("mode", choices=["smollm", "tiny"])
    parser.add_argument("model", type=Path, nargs="?", help="smollm: the model's directory")
    parser.add_argument("--out", type=Path, required=True, help="results as JSON")
    parser.add_argument("--keep", type=Path, help="folder for papers, ledgers, certificates and reports")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--task", help="default: arith:products?digits=3 (smollm), arith:sums?terms=3-4&digits=1 (tiny)"
    )
    parser.add_argument("--count", type=int, help="problems in the bank; default 60")
    parser.add_argument("--epochs", type=int, help="default 14 (smollm), 120 (tiny)")
    parser.add_argument("--learning-rate", type=float, help="default 5e-4 (smollm), 4e-3 (tiny)")
    parser.add_argument("--tokens-per-step", type=int, help="default 480 (smollm), 1024 (tiny)")
    parser.add_argument("--max-tokens", type=int, default=16)
    parser.add_argument("--max-batch", type=int, default=60)
    parser.add_argument("--skip-memory", action="store_true", help="smollm: no log-probabilities")
    parser.add_argument("--repeats", type=int, default=40, help="tiny: clean repeats")
    parser.add_argument("--planted", type=int, default=10, help="tiny: planted repeats")
    parser.add_argument("--hidden", type=int, default=64, help="tiny: hidden size")
    parser.add_argument("--context", type=int, default=512, help="tiny: longest context")
    args = parser.parse_args()
    defaults = {
        "smollm": {
            "task": "arith:products?digits=3",
            "count": 60,
            "epochs": 14,
            "learning_rate": 5e-4,
            "tokens_per_step": 480,
        },
        "tiny": {
            "task": "arith:sums?terms=3-4&digits=1",
            "count": 60,
            "epochs": 120,
            "learning_rate": 4e-3,
            "tokens_per_step": 1024,
        },
    }[args.mode]
    for name, value in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if (args.mode == "smollm") != (args.model is not None):
        parser.error("smollm needs a model directory, tiny has none")
    return args


def publish(root: Path, keep: Path) -> None:
    """What a stranger needs: papers, ledgers, certificates, reports. No keys, no weights, no training files."""
    for path in sorted(root.rglob("*.json*")):
        relative = path.relative_to(root)
        is_public = path.name in ("paper.json", "ledger.jsonl") or path.name.endswith(
            (".certificate.json", ".overlap.json", ".memory.json")
        )
        if is_public and "models" not in relative.parts:
            folder = relative.parent.parent if path.name == "paper.json" else relative.parent
            target = keep / folder / path.name  # flat: certificates stand beside their paper and ledger
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())


def main() -> int:
    args = parse()
    import torch

    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        result = (smollm if args.mode == "smollm" else tiny)(args, root)
        if args.keep:
            publish(root, args.keep)
    result = {
        "machine": describe_machine("transformers", threads=args.threads),
        "arguments": {
            name: str(value.name if isinstance(value, Path) else value) for name, value in vars(args).items()
        },
        "seconds": round(time.perf_counter() - start, 1),
        **result,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    shown = result["alarms"] if args.mode == "tiny" else {
        name: {key: arm[key] for key in ("gap_statement", "studied_statement", "memory_statement")}
        for name, arm in result["arms"].items()
    }  # fmt: skip
    print(json.dumps(shown, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
