"""From a model's traces to the first step of training on them: memory and time, held as objects and mapped from files.

Each system runs in a process of its own: it reads a file of traces, makes documents of them, audits them, plans the
training, takes the documents' digest and packs the first step. "held" has a Python object for each trace, document,
token and flag, as all of it was once kept; "mapped" is what runs do. Both must give the same digest.

python bench/documents.py DIRECTORY --out bench/results/documents-cpu.json
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from machine import describe_machine
from spiritsafe.core.mapped import MappedSequence
from spiritsafe.core.records import Message, Problem
from spiritsafe.distil import AuditExample, audit_documents
from spiritsafe.models import ChatFormat, Document, pack_documents
from spiritsafe.pipeline.context import Trace, read_traces, write_traces
from spiritsafe.pipeline.stages.training import make_documents
from spiritsafe.training import TrainConfig, write_documents
from spiritsafe.training.data.feed import FixedFeed

T = TypeVar("T")

CONFIG = TrainConfig(learning_rate=1e-4, tokens_per_step=65_536, micro_batch_tokens=8_192, max_epochs=1)


def traces(chat: ChatFormat, count: int, length: int) -> Iterator[Trace]:
    """Answers of random tokens, all of one length."""
    rng = random.Random(0)
    for number in range(count):
        ids = tuple(rng.randrange(300, 49_000) for _ in range(length - 1))
        yield Trace(
            problem=Problem(
                task="bench",
                canonical_text=f"problem {number}",
                messages=(Message(role="user", content=f"What is the answer to problem {number}?"),),
                facts={"answer": str(number)},
            ),
            text=chat.decode(ids),
            token_ids=(*ids, chat.end_id),
            vocabulary=chat.vocab_fingerprint,
        )


def memory() -> dict[str, int]:
    """Bytes of this process: its own, and its peak with mapped pages of files."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
    return {"own": kilobytes["RssAnon"] * 1024, "peak": kilobytes["VmHWM"] * 1024}


def child(directory: Path, folder: Path, system: str) -> dict[str, Any]:
    """One system's figures."""
    chat = ChatFormat(directory)
    before, seconds = memory(), dict[str, float]()

    def timed(name: str, work: Callable[[], T]) -> T:
        started = time.process_time()
        found = work()
        seconds[name] = round(time.process_time() - started, 2)
        return found

    path = folder / "traces.jsonl"
    loaded: Any = SimpleNamespace(chat=chat)
    read: Sequence[Trace] = timed("read", lambda: read_traces(path) if system == "mapped" else list(read_traces(path)))
    after_traces = memory()
    kept = folder / "documents.bin"
    documents: Sequence[Document] = timed(
        "documents",
        lambda: (
            write_documents(kept, make_documents(loaded, read))
            if system == "mapped"
            else list(make_documents(loaded, read))
        ),
    )
    after_documents = memory()
    examples = MappedSequence(read, lambda _, t: AuditExample(messages=t.problem.messages, token_ids=t.token_ids))
    report = timed(
        "audit",
        lambda: audit_documents(
            chat, None, examples, documents, micro_batch_tokens=CONFIG.micro_batch_tokens, max_context=8_192
        ),
    )
    model: Any = SimpleNamespace(max_context=8_192, vocab_size=chat.vocab_size)
    feed = timed("plan", lambda: FixedFeed(documents, CONFIG, model))
    digest = timed("digest", feed.describe)
    timed("first step", lambda: [pack_documents([document]) for document in feed.documents_of(0, model)])
    num_tokens = report.num_tokens
    found: dict[str, Any] = {
        "num_documents": len(documents),
        "num_tokens": num_tokens,
        "digest": digest,
        "findings": [finding.code for finding in report.findings],
        "own_bytes_a_token": {
            "traces": round((after_traces["own"] - before["own"]) / num_tokens, 2),
            "documents": round((after_documents["own"] - after_traces["own"]) / num_tokens, 2),
        },
        "peak_above_start_mb": round((memory()["peak"] - before["peak"]) / 1e6, 1),
        "cpu_seconds": seconds,
        "traces_file_bytes_a_token": round(path.stat().st_size / num_tokens, 2),
    }
    if system == "mapped":
        found["documents_file_bytes_a_token"] = round(kept.stat().st_size / num_tokens, 3)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--shapes", nargs="+", default=["20000x1000", "200000x20"], help="documents x answer's tokens")
    parser.add_argument("--systems", nargs="+", default=["held", "mapped"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(args.model, Path(args.child[0]), args.child[1])))
        return 0
    chat, rows = ChatFormat(args.model), list[dict[str, Any]]()
    for shape in args.shapes:
        count, length = map(int, shape.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            write_traces(Path(folder) / "traces.jsonl", traces(chat, count, length))
            for system in args.systems:
                command = [sys.executable, __file__, str(args.model), "--child", folder, system]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                rows.append({"shape": shape, "system": system, **json.loads(done.stdout.splitlines()[-1])})
                print(json.dumps(rows[-1]))
        if len({json.dumps(row["digest"]) for row in rows if row["shape"] == shape}) != 1:
            print("The systems trained on other documents.", file=sys.stderr)
            return 1
    if args.out:
        report = {"machine": describe_machine("numpy", "tokenizers", threads=1), "rows": rows}
        args.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
