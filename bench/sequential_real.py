"""One real exam, stopped early and not: two models, one sealed paper, one claim. Same decision? How many completions?

    python bench/sequential_real.py --model DIR --reference DIR --by 5 --out bench/results/sequential-real-cpu.json

Everything is done by the commands that an examiner uses, each in its own process: a fresh paper is sealed, the
reference and one sitting of the model for each stop rule are registered before anybody sits, all sit, every certificate
is verified. The claim is "better than the reference by so many points". Local weights draw the same answers for every
rule, because the seed follows from paper and model: what differs is only when the sitting ends. Paper, ledger and
certificates are kept in a folder beside the results, named like them. DIR may also be ``tiny:<seed>`` or an endpoint,
``http://…/v1#NAME``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FIXED = "fixed"
"""The rule that all others are held against."""


def spiritsafe(*arguments: str) -> str:
    """One command; its output.

    Raises:
        SystemExit: It failed.
    """
    done = subprocess.run([sys.executable, "-m", "spiritsafe", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"spiritsafe {' '.join(arguments[:2])} failed:\n{done.stderr[-3000:]}")
    return done.stdout.strip()


def source(text: str) -> list[str]:
    """The options that name a model."""
    if text.startswith(("http://", "https://")):
        url, _, name = text.partition("#")
        return ["--endpoint", url, "--endpoint-model", name]
    return ["--model", spiritsafe("models", "fetch", text) if text.startswith("tiny:") else text]


def file_name(rule: str) -> str:
    return rule.replace(":", "-")


class Exam:
    """Paper, ledger, keys and certificates in one folder; keys stay in a folder that is thrown away."""

    def __init__(self, folder: Path, scratch: Path, args: argparse.Namespace) -> None:
        self.folder, self.scratch, self.args = folder, scratch, args
        self.ledger = ["--ledger", str(folder / "ledger.jsonl")]
        self.paper = scratch / "paper"
        self.examiner, self.maker = (["--key", str(scratch / f"{who}.json")] for who in ("examiner", "maker"))

    def seal(self) -> None:
        spiritsafe("exam", "key", self.examiner[1], "--holder", "bench examiner")
        spiritsafe("exam", "key", self.maker[1], "--holder", "bench maker")
        size = ["--count", str(self.args.problems), "--out", str(self.paper)]
        spiritsafe("exam", "seal", self.args.task, *size, *self.ledger, *self.examiner)
        shutil.copy(self.paper / "paper.json", self.folder / "paper.json")

    def register(self, name: str, model: list[str], *claim: str) -> None:
        sampling = ["--temperature", "0", "--max-tokens", str(self.args.max_tokens)]
        spiritsafe(
            "exam", "register", str(self.paper), *model, "--name", name, *self.ledger, *self.maker, *sampling,
            "--hypothesis", "A bench of stop rules.", *claim,
            "--out", str(self.scratch / f"{name}.registration.json"),
        )  # fmt: skip

    def sit(self, name: str, model: list[str], *reference: str) -> float:
        started = time.perf_counter()
        spiritsafe(
            "exam", "sit", str(self.paper), "--registration", str(self.scratch / f"{name}.registration.json"), *model,
            *self.ledger, *self.examiner, "--work", str(self.scratch / "sittings" / name), *reference,
            "--max-batch", str(self.args.max_batch), "--out", str(self.certificate(name)),
        )  # fmt: skip
        return time.perf_counter() - started

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.certificate.json"

    def verify(self, name: str, *reference: str) -> None:
        paper = str(self.folder / "paper.json")
        spiritsafe("exam", "verify", str(self.certificate(name)), "--paper", paper, *self.ledger, *reference)


def row_of(path: Path, seconds: float) -> dict[str, Any]:
    """What a certificate says of one sitting."""
    record = json.loads(path.read_text("utf-8"))
    result, outcomes = record["result"], record["result"]["outcomes"]
    decision = result.get("decision")
    return {
        "certificate": path.name,
        "ending": result.get("ending", "complete"),
        "completions": len(outcomes),
        "sealed_completions": sum(outcome["half"] == "sealed" for outcome in outcomes),
        "completion_tokens": result["num_tokens"],
        "seconds": round(seconds, 1),
        "sealed_accuracy": result["sealed"]["accuracy"],
        "decision": decision,
        "correction": record.get("correction"),
    }


def compare(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each rule against the whole paper."""
    whole = rows[FIXED]
    return {
        rule: {
            "same_decision": row["decision"]["finding"] == whole["decision"]["finding"],
            "finding": row["decision"]["finding"],
            "estimate": row["decision"]["estimate"],
            "completions": row["completions"],
            "times_fewer_completions": round(whole["completions"] / row["completions"], 3),
            "times_fewer_tokens": round(whole["completion_tokens"] / max(1, row["completion_tokens"]), 3),
            "times_fewer_seconds": round(whole["seconds"] / row["seconds"], 3),
        }
        for rule, row in rows.items()
    }


def same_answers(folder: Path, rules: list[str]) -> bool:
    """Whether what was asked under every rule was answered alike: else more than the stop rule differs."""
    statuses: dict[tuple[int, int], set[str]] = {}
    for rule in rules:
        record = json.loads((folder / f"{file_name(rule)}.certificate.json").read_text("utf-8"))
        for outcome in record["result"]["outcomes"]:
            statuses.setdefault((outcome["index"], outcome["sample_index"]), set()).add(outcome["status"])
    return all(len(found) == 1 for found in statuses.values())


def hold(args: argparse.Namespace, folder: Path, scratch: Path) -> dict[str, Any]:
    """Seal, register, sit, verify."""
    exam = Exam(folder, scratch, args)
    exam.seal()
    reference, model = source(args.reference), source(args.model)
    exam.register("reference", reference)
    claim = f"better than {scratch / 'reference.registration.json'}" + (f" by {args.by:g}" if args.by else "")
    for rule in args.stop:
        exam.register(file_name(rule), model, "--claim", claim, "--level", str(args.level), "--stop", rule)
    first = row_of(exam.certificate("reference"), exam.sit("reference", reference))
    print(f"reference: {first['sealed_accuracy']['value']:.1%} sealed, {first['seconds']} s", flush=True)
    against = ["--reference", str(exam.certificate("reference"))]
    rows = {}
    for rule in args.stop:
        name = file_name(rule)
        seconds = exam.sit(name, model, *against)
        rows[rule] = row_of(exam.certificate(name), seconds)
        print(f"{rule}: {rows[rule]['decision']['finding']}, {rows[rule]['completions']} completions", flush=True)
    exam.verify("reference")
    for rule in args.stop:
        exam.verify(file_name(rule), *against)
    return {
        "claim": f"better than the reference by at least {args.by:g} points",
        "reference": first,
        "sittings": rows,
        "same_answers": same_answers(folder, args.stop),
        "summary": compare(rows),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True, help="directory, tiny:<seed>, or http://…/v1#NAME")
    parser.add_argument("--reference", required=True, help="the model that the claim compares with, written alike")
    parser.add_argument("--out", type=Path, required=True, help="raw results as JSON")
    parser.add_argument("--task", default="arith:sums?terms=2-3&digits=1-2")
    parser.add_argument("--problems", type=int, default=400, help="of the bank; half are sealed")
    parser.add_argument("--by", type=float, default=5.0, help="points that the model must be better by")
    parser.add_argument("--level", type=float, default=0.025, help="one-sided")
    parser.add_argument("--stop", nargs="+", default=[FIXED, "looks:5", "frequent"])
    parser.add_argument("--max-tokens", type=int, default=28)
    parser.add_argument("--max-batch", type=int, default=64)
    return parser.parse_args()


def main() -> int:
    args = parse()
    if args.stop[0] != FIXED:
        print(f"The first rule must be {FIXED}: the others are compared with it.", file=sys.stderr)
        return 2
    from machine import describe_machine  # it looks torch's version up

    folder = args.out.with_suffix("")
    if folder.exists():
        print(f"{folder} is there already: certificates are not mixed.", file=sys.stderr)
        return 2
    folder.mkdir(parents=True)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        held = hold(args, folder, Path(scratch))
    result = {
        "bench": "sequential-real",
        "machine": describe_machine("transformers", "spiritsafe"),
        "load_average_after": os.getloadavg(),
        "arguments": {
            k: Path(v).name if isinstance(v, str) and Path(v).is_absolute() else v
            for k, v in vars(args).items()
            if k != "out"
        },
        **held,
        "seconds": round(time.perf_counter() - started, 1),
    }
    args.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps({"same_answers": held["same_answers"], **held["summary"]}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
