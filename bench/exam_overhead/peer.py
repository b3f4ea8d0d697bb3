"""The peers of ``bench/exam_overhead/run.py``, each run by an interpreter of its own environment; needs no spiritsafe.

    VENV/bin/python bench/exam_overhead/peer.py inspect|inspect-quiet|lm-eval --samples N --url URL --problems FILE …

Prints one line of JSON: samples, right answers, CPU and wall seconds of the evaluation, memory, log. A small evaluation
comes first and is left out: imports, and whatever a library does once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

MAX_TOKENS = 16


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def log_bytes(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


def run_inspect(args: argparse.Namespace, problems: Path, directory: Path) -> dict[str, Any]:
    os.environ |= {"FAKE_API_KEY": "none", "FAKE_BASE_URL": args.url}
    from inspect_ai import Task, eval
    from inspect_ai.dataset import FieldSpec, json_dataset
    from inspect_ai.scorer import exact
    from inspect_ai.solver import generate

    started, wall = cpu_seconds(), time.perf_counter()
    task = Task(
        dataset=json_dataset(str(problems), FieldSpec(input="question", target="answer")),
        solver=generate(),
        scorer=exact(),
    )
    (log,) = eval(
        task,
        model="openai-api/fake/fake",
        display="none",
        log_dir=str(directory),
        max_connections=args.connections,
        max_samples=args.connections,
        temperature=0.0,
        max_tokens=MAX_TOKENS,
        **({"log_realtime": False} if args.system == "inspect-quiet" else {}),
    )
    used, wall = cpu_seconds() - started, time.perf_counter() - wall
    if log.status != "success" or log.results is None:
        raise SystemExit(f"Inspect's status is {log.status}: {log.error}")
    (score,) = log.results.scores
    num_samples = log.results.completed_samples
    return {
        "num_samples": num_samples,
        "num_right": round(score.metrics["mean"].value * num_samples),
        "cpu_s": used,
        "wall_s": wall,
        "versions": {name: version(name) for name in ("inspect-ai", "openai")},
    }


def run_lm_eval(args: argparse.Namespace, problems: Path, directory: Path) -> dict[str, Any]:
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False)  # else it reads the files of all its tasks first
    started, wall = cpu_seconds(), time.perf_counter()
    tracker = EvaluationTracker(output_path=str(directory))
    task = {
        "task": "bench_sums",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(problems)}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": MAX_TOKENS, "temperature": 0.0, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1},
    }
    found = simple_evaluate(
        model="local-chat-completions",
        model_args={
            "model": "fake",
            "base_url": f"{args.url}/chat/completions",
            "num_concurrent": args.connections,
            "tokenized_requests": False,
        },
        tasks=[task],
        apply_chat_template=True,
        task_manager=manager,
        evaluation_tracker=tracker,
        log_samples=True,
    )
    samples = found.pop("samples")
    tracker.save_results_aggregated(results=found, samples=samples)
    for name, rows in samples.items():
        tracker.save_results_samples(task_name=name, samples=rows)
    used, wall = cpu_seconds() - started, time.perf_counter() - wall
    rows = samples["bench_sums"]
    return {
        "num_samples": len(rows),
        "num_right": round(sum(row["exact_match"] for row in rows)),
        "cpu_s": used,
        "wall_s": wall,
        "versions": {name: version(name) for name in ("lm-eval", "datasets", "aiohttp")},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("system", choices=["inspect", "inspect-quiet", "lm-eval"])
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--warmup", type=int, required=True, help="samples of an evaluation before, left out")
    parser.add_argument("--url", required=True)
    parser.add_argument("--problems", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(sys.stderr):
        run = run_lm_eval if args.system == "lm-eval" else run_inspect
        few, logs = Path(directory, "few.jsonl"), Path(directory, "logs")
        few.write_text("".join(args.problems.read_text("utf-8").splitlines(keepends=True)[: args.warmup]), "utf-8")
        run(args, few, Path(directory, "warmup"))
        found = run(args, args.problems, logs)
        found["log_bytes"] = log_bytes(logs)
    if found["num_samples"] != args.samples:
        raise SystemExit(f"{found['num_samples']} samples instead of {args.samples}")
    found["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
