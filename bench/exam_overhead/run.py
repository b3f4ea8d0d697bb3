"""What an exam costs beside the model: CPU time a sample of spiritsafe, Inspect AI and lm-evaluation-harness.

    python bench/exam_overhead/run.py --out bench/results/exam-overhead.json \
        --inspect-python VENV/bin/python --lm-eval-python VENV/bin/python

All three ask the same one-turn problems of one fake OpenAI-compatible endpoint on 127.0.0.1 (a process of its own, its
CPU is not counted, no latency, 50 connections), grade by exact match and log every sample. Gate: each counts the same
number of right answers. Then blocks in the order A B C C B A, each in a process of its own; user and system time of
the block's process and its children, after a small evaluation that is left out; medians. Ours is everything an exam
adds: draw, commit, split and encrypt the paper, register, ask with 4 rounds of probes, grade, encrypt each answer,
score, sign the certificate. Shown apart: its HTTP client alone, on the same questions; and the whole exam with a model
in its own process that answers the same at no cost, without HTTP and without the endpoint busy on the other core.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.generator import Generator, GeneratorInfo
from spiritsafe.core.process.gc_pause import rare_collections
from spiritsafe.core.records import Attempt, Message, Problem, Prompt, Sampling, Verdict
from spiritsafe.exam import RegistrationTerms, load_paper, register, require_verified, seal, sit, verify
from spiritsafe.exam.paper.files import open_sealed
from spiritsafe.exam.records.paper import PaperProblem
from spiritsafe.ledger import KeyPair, Ledger
from spiritsafe.rollouts import RemoteConfig, RemoteGenerator
from spiritsafe.tasks import Draft, Task, Verifier

__all__ = ["SumsTask", "reply_to", "summarise"]

HERE = Path(__file__).parent
PEERS = {
    "inspect": "Inspect AI, as it comes",
    "inspect-quiet": "Inspect AI, log_realtime off",
    "lm-eval": "lm-evaluation-harness, samples logged",
}
MAX_TOKENS = 16
SECRET = bytes(range(32))  # the same problems in every block
PROBLEMS_FILE = "problems.jsonl"


class ExactMatch(Verifier):
    """What Inspect's ``exact`` and lm-eval's ``exact_match`` do to these answers."""

    name = "bench-exact"
    version = "1"
    isolated = False

    def judge(self, problem: Problem, text: str) -> Verdict:
        answer = text.strip()
        return self.verdict("correct" if answer == problem.facts["answer"] else "wrong", answer=answer)


class SumsTask(Task):
    """Sums of two numbers of four digits."""

    def __init__(self) -> None:
        super().__init__(name="bench:sums", version="1", verifier=ExactMatch())

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        rng = random.Random(seed)
        while True:
            a, b = rng.randrange(1000, 10_000), rng.randrange(1000, 10_000)
            yield Draft(canonical_text=f"{a}+{b}", build=lambda a=a, b=b: self._problem(a, b))

    def _problem(self, a: int, b: int) -> Problem:
        question = f"What is {a} + {b}? Answer with the number only."
        return Problem(
            task=self.name,
            canonical_text=f"{a}+{b}",
            messages=(Message(role="user", content=question),),
            facts={"answer": str(a + b)},
        )


class Unplugged:
    """Answers what the endpoint would, in this process; counts as remote, so that each try is written ahead."""

    def describe(self) -> GeneratorInfo:
        return GeneratorInfo(name="unplugged", digest=digest("unplugged"), kind="remote")

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        return self.generate_announced(prompts, sampling, lambda *_: None, lambda *_: None)

    def generate_announced(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        before: Callable[[str, int], None],
        not_asked: Callable[[str, int], None],
    ) -> Iterator[Attempt]:
        for prompt in prompts:
            before(prompt.problem_id, prompt.first_sample)
            yield Attempt(
                problem_id=prompt.problem_id,
                sample_index=prompt.first_sample,
                model=self.describe().digest,
                sampling=sampling,
                seed=prompt.seed,
                text=reply_to(prompt.messages[-1].content),
                finish_reason="stop",
                num_prompt_tokens=12,
                num_tokens=2,
            )

    def score(self, conversations: object, completions: object) -> list[tuple[float, ...]]:
        raise CompatibilityError("It gives no probabilities.", hint="Use a model.")


def reply_to(question: str) -> str:
    """The endpoint's answer: right for four problems of five, the same one whoever asks."""
    words = question.split()
    if len(words) < 5 or not words[2].isdigit():
        return "ready"  # probes and warm-up questions
    total = int(words[2]) + int(words[4].rstrip("?"))
    return str(total if total % 5 else total + 1)


def serve() -> None:
    """The endpoint: prints its address, then serves until it is ended."""
    sys.path.append(str(HERE.parent.parent / "tests" / "support"))
    from fake_endpoint import FakeEndpoint

    endpoint = FakeEndpoint(lambda body: reply_to(str(body["messages"][-1]["content"])), keep_requests=False)
    print(endpoint.url, flush=True)
    threading.Event().wait()


def cpu_seconds() -> float:
    """User and system time of this process and its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def remote(url: str, connections: int) -> RemoteGenerator:
    """Our client of the endpoint."""
    return RemoteGenerator(url, "fake", config=RemoteConfig(concurrency=connections))


def hold_exam(directory: Path, generator: Generator, count: int) -> dict[str, Any]:
    """Seal, register, sit, verify; CPU seconds of each, and what the certificate counts."""
    task, spent = SumsTask(), {}
    directory.mkdir()

    def timed(name: str, step: Callable[[], Any]) -> Any:
        started = cpu_seconds()
        value = step()
        spent[name] = cpu_seconds() - started
        return value

    maker, examiner = KeyPair.generate("maker"), KeyPair.generate("examiner")
    ledger, papers = Ledger(directory / "ledger.jsonl"), directory / "paper"
    wall = time.perf_counter()
    paper = timed(
        "seal",
        lambda: seal(task, count=count, ledger=ledger, directory=papers, examiner=examiner, secret=SECRET),
    )
    registration = timed(
        "register",
        lambda: register(
            ledger=ledger,
            paper=paper,
            maker=maker,
            model_name="fake",
            model_digest=generator.describe().digest,
            sampling=Sampling(temperature=0.0, max_tokens=MAX_TOKENS),
            hypothesis="it can add",
            terms=RegistrationTerms(num_probes=4),
        ),
    )
    certificate = timed(
        "sit",
        lambda: sit(
            paper=papers,
            registration=registration,
            generator=generator,
            task=task,
            ledger=ledger,
            examiner=examiner,
            directory=directory / "sitting",
        ),
    )
    wall = time.perf_counter() - wall
    path = directory / "sitting" / "certificate.json"
    steps = timed("verify", lambda: verify(path, paper=papers, ledger=ledger.path))
    require_verified(steps)
    result = certificate.result
    log = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    return {
        "num_samples": len(result.outcomes),
        "num_right": result.public.counts["correct"] + result.sealed.counts["correct"],
        "cpu_s": spent["seal"] + spent["register"] + spent["sit"],
        "cpu_s_of_steps": spent,
        "wall_s": wall,
        "log_bytes": log,
        "problems": papers,
        "examiner": examiner,
    }


def ask_without_exam(papers: Path, examiner: KeyPair, url: str, connections: int) -> float:
    """CPU seconds of the HTTP client alone: the same questions asked, the answers dropped."""
    problems = placed_problems(papers, examiner)
    prompts = [Prompt(problem_id=p.problem.id, messages=p.problem.messages, seed=0) for p in problems]
    sampling = Sampling(temperature=0.0, max_tokens=MAX_TOKENS)
    with remote(url, connections) as generator:
        started = cpu_seconds()
        with rare_collections():  # as a sitting does
            num_answers = sum(attempt.finish_reason == "stop" for attempt in generator.generate(prompts, sampling))
        spent = cpu_seconds() - started
    if num_answers != len(prompts):
        raise RuntimeError(f"{num_answers} answers to {len(prompts)} questions")
    return spent


def placed_problems(papers: Path, examiner: KeyPair) -> list[PaperProblem]:
    """All problems of a paper, in its order."""
    public = load_paper(papers)
    return sorted((*public.problems, *open_sealed(papers, public, examiner).problems), key=lambda p: p.index)


def write_problems(papers: Path, examiner: KeyPair, target: Path) -> None:
    """The paper's problems in the clear, for the peers."""
    problems = placed_problems(papers, examiner)
    rows = ({"question": p.problem.messages[0].content, "answer": p.problem.facts["answer"]} for p in problems)
    target.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def our_block(args: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        with remote(args.url, args.connections) as generator:
            hold_exam(Path(directory, "warmup"), generator, args.warmup)
        with remote(args.url, args.connections) as generator:
            found = hold_exam(Path(directory, "exam"), generator, args.samples)
        unplugged = hold_exam(Path(directory, "unplugged"), Unplugged(), args.samples)
        if unplugged["num_right"] != found["num_right"]:
            raise RuntimeError(f"{unplugged['num_right']} right answers without the endpoint")
        found["unplugged_cpu_s_of_steps"] = unplugged["cpu_s_of_steps"]
        found["client_cpu_s"] = ask_without_exam(found["problems"], found["examiner"], args.url, args.connections)
        if args.problems is not None:
            write_problems(found["problems"], found["examiner"], args.problems)
    del found["problems"], found["examiner"]
    found["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return found


def run_block(args: argparse.Namespace, name: str, url: str, problems: Path) -> dict[str, Any]:
    """One block in a process of its own; a peer's in its own environment."""
    load = os.getloadavg()[0]
    shared = ["--samples", str(args.samples), "--connections", str(args.connections), "--url", url]
    shared += ["--warmup", str(args.warmup), "--problems", str(problems)]
    if name == "spiritsafe":
        command = [sys.executable, __file__, "--block", *(shared if not problems.exists() else shared[:-2])]
    else:
        python = args.lm_eval_python if name == "lm-eval" else args.inspect_python
        command = [str(python), str(HERE / "peer.py"), name, *shared]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH" or name == "spiritsafe"}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        return {"name": name, "error": (done.stderr or done.stdout)[-4000:]}
    return {"name": name, "load_before": load, **json.loads(done.stdout.splitlines()[-1])}


def summarise(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Median CPU milliseconds a sample, and the peers' against ours."""
    good = [block for block in blocks if "error" not in block]
    rows: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(block["name"] for block in good):
        own = [block for block in good if block["name"] == name]
        rows[name] = {
            "cpu_ms_a_sample": round(statistics.median(1e3 * b["cpu_s"] / b["num_samples"] for b in own), 4),
            "samples_a_second": round(statistics.median(b["num_samples"] / b["wall_s"] for b in own), 1),
            "peak_memory_mb": round(statistics.median(b["peak_memory_bytes"] for b in own) / 1e6, 1),
            "log_kb_a_sample": round(statistics.median(b["log_bytes"] / b["num_samples"] for b in own) / 1e3, 2),
        }
        if "client_cpu_s" in own[0]:
            client = statistics.median(1e3 * b["client_cpu_s"] / b["num_samples"] for b in own)
            rest = statistics.median(1e3 * (b["cpu_s"] - b["client_cpu_s"]) / b["num_samples"] for b in own)
            rows[name] |= {"client_cpu_ms_a_sample": round(client, 4), "without_client_cpu_ms": round(rest, 4)}
        for steps, label in (("cpu_s_of_steps", ""), ("unplugged_cpu_s_of_steps", "unplugged_")):
            for step in own[0].get(steps, ()):
                values = [1e3 * b[steps][step] / b["num_samples"] for b in own]
                rows[name][f"{label}{step}_cpu_ms_a_sample"] = round(statistics.median(values), 4)
    ours = rows.get("spiritsafe", {}).get("cpu_ms_a_sample")
    ratios = {name: round(row["cpu_ms_a_sample"] / ours, 2) for name, row in rows.items() if name in PEERS and ours}
    return {"medians": rows, "peer_cpu_over_ours": ratios}


def same_counts(blocks: list[dict[str, Any]]) -> bool:
    """The gate: nobody failed, and all asked as many problems and found as many answers right."""
    return len({(block.get("num_samples"), block.get("num_right")) for block in blocks}) == 1 and not any(
        "error" in block for block in blocks
    )


def systems(args: argparse.Namespace) -> tuple[list[str], dict[str, str]]:
    """What is timed, and what is skipped and why."""
    given = {"inspect": args.inspect_python, "inspect-quiet": args.inspect_python, "lm-eval": args.lm_eval_python}
    skipped = {
        name: f"skipped: no --{name.removesuffix('-quiet')}-python given" for name in PEERS if given[name] is None
    }
    return ["spiritsafe", *(name for name in PEERS if name not in skipped)], skipped


def measure(args: argparse.Namespace, url: str) -> dict[str, Any]:
    """The gate, then the blocks."""
    names, skipped = systems(args)
    for name, why in skipped.items():
        print(f"{name}: {why}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        problems = Path(scratch) / PROBLEMS_FILE
        gate = [run_block(args, name, url, problems) for name in names]
        result: dict[str, Any] = {"skipped": skipped, "gate": gate, "passed": same_counts(gate), "blocks": []}
        for block in gate:
            print(block["name"], block.get("error") or f"{block['num_right']} right", flush=True)
        if not result["passed"]:
            return result
        for name in [*names, *reversed(names)] * args.rounds:
            result["blocks"].append(run_block(args, name, url, problems))
            print(name, result["blocks"][-1].get("error", "done"), flush=True)
    result["passed"] = same_counts(result["blocks"])
    result["summary"] = summarise(result["blocks"])
    return result


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="raw results as JSON")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--warmup", type=int, default=50, help="samples of the small evaluation before each block")
    parser.add_argument("--rounds", type=int, default=2, help="how often A B C C B A is repeated")
    parser.add_argument("--inspect-python", type=Path, help="an interpreter with inspect-ai and openai")
    parser.add_argument("--lm-eval-python", type=Path, help="an interpreter with lm-eval[api]")
    parser.add_argument("--max-load", type=float, default=0.5, help="highest load average to start at")
    for name in ("--serve", "--block"):
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--problems", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    args = parse()
    if args.serve:
        serve()
        return 0
    if args.block:
        print(json.dumps(our_block(args)))
        return 0
    if args.out is None:
        print("--out is missing.", file=sys.stderr)
        return 2
    load = os.getloadavg()[0]
    if load > args.max_load:
        print(f"The load average is {load:.2f}: times would say nothing. Wait, or raise --max-load.", file=sys.stderr)
        return 1
    sys.path.append(str(HERE.parent))  # where machine.py is
    from machine import describe_machine  # it looks torch's version up: the blocks need none

    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().strip() if server.stdout else ""
        measured = measure(args, url)
    finally:
        server.terminate()
        server.wait()
    result: dict[str, Any] = {
        "bench": "exam-overhead",
        "machine": describe_machine("aiohttp", "spiritsafe", threads=1),
        "arguments": {k: getattr(args, k) for k in ("samples", "connections", "warmup", "rounds", "max_load")},
        "systems": {"spiritsafe": "seal, register, sit", **PEERS},
        **measured,
    }
    print(json.dumps(result.get("summary", {}), indent=2))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
