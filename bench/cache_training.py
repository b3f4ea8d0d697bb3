"""Training from the cache against training from the live teacher: is the difference more than the seeds' own?

    python bench/cache_training.py MODEL_DIRECTORY --out bench/results/cache-training-cpu.json

Teacher: the model; student: the same without layers 13 to 17. Text: sources of Python's standard library (PSF
licence), whose digest is recorded; some of it is held out. Each arm trains the same student on the same documents with
forward KL alone: from the live teacher, and from caches captured with different draws. Seeds change the order of the
documents. What is measured: KL to the teacher and cross-entropy on the held-out text, before and after.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from cache import DROPPED, text_documents
from machine import describe_machine
from spiritsafe.distil import DistilObjective, LiveTeacher, LossMix
from spiritsafe.distil.cache import CachedTeacher, CaptureConfig, capture
from spiritsafe.models import Document, LoadedModel, load_model, pack_documents
from spiritsafe.models.interface.batch import IGNORED
from spiritsafe.models.pruning.depth import cut_depth
from spiritsafe.models.transformers_backend.loading import load_decoder
from spiritsafe.training import TrainConfig, train


@torch.no_grad()
def measure(student: Any, teacher: Any, documents: list[Document]) -> dict[str, float]:
    """Mean KL(teacher || student) and cross-entropy over the rows, in nats."""
    kl = ce = rows = 0.0
    for document in documents:
        batch = pack_documents([document])
        chosen = batch.targets_N != IGNORED
        logprobs = [model.logits(model(batch)).float().log_softmax(-1)[chosen] for model in (student, teacher)]
        ours, theirs = logprobs
        kl += float((theirs.exp() * (theirs - ours)).sum())
        ce -= float(ours.gather(1, batch.targets_N[chosen, None]).sum())
        rows += float(chosen.sum())
    return {"kl": kl / rows, "cross_entropy": ce / rows}


def run_arm(
    args: argparse.Namespace,
    start: Path,
    signal: Any,
    seed: int,
    teacher: LoadedModel,
    texts: tuple[list[Document], list[Document]],
) -> dict[str, Any]:
    student = load_decoder(start, dtype=torch.float32)
    before = measure(student, teacher.model, texts[1])
    config = TrainConfig(
        learning_rate=args.learning_rate,
        tokens_per_step=args.tokens_per_step,
        micro_batch_tokens=1024,
        max_epochs=1,
        compute_dtype="float32",
        checkpoint_every_s=None,
        seed=seed,
    )
    objective = DistilObjective(signal, LossMix(forward_kl=1.0), same_tokenizer=True)
    with tempfile.TemporaryDirectory() as directory:
        result = train(student, texts[0], objective, config, directory=Path(directory))
    after = measure(student, teacher.model, texts[1])
    return {"seed": seed, "steps": result.steps, "seconds": round(result.seconds, 1), "before": before, "after": after}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=6144)
    parser.add_argument("--length", type=int, default=255)
    parser.add_argument("--held-out", type=int, default=6, help="documents")
    parser.add_argument("--tokens-per-step", type=int, default=512)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--threshold", type=float, default=0.005)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    teacher = load_model(args.model, dtype=torch.float32)
    documents, digest = text_documents(teacher, args.rows, args.length)
    texts = (documents[: -args.held_out], documents[-args.held_out :])
    arms: dict[str, list[dict[str, Any]]] = {"live": [], "cached": []}
    bytes_per_row = []
    start = Path(tempfile.mkdtemp()) / "student"
    kept = [layer for layer in range(teacher.model.num_layers) if layer not in DROPPED]
    cut_depth(args.model, start, kept, name="student")
    for seed in range(args.seeds):
        arms["live"].append(run_arm(args, start, LiveTeacher(teacher.model), seed, teacher, texts))
        print("live", json.dumps(arms["live"][-1]), flush=True)
        with tempfile.TemporaryDirectory() as folder:
            config = CaptureConfig(threshold=args.threshold, seed=seed)
            bytes_per_row.append(capture(teacher, texts[0], config, Path(folder)).bytes_per_row)
            cache = CachedTeacher(Path(folder), tokenizer=teacher.chat.vocab_fingerprint)
            arms["cached"].append(run_arm(args, start, cache, seed, teacher, texts))
        print("cached", json.dumps(arms["cached"][-1]), flush=True)
    finals = {name: [arm["after"]["kl"] for arm in rows] for name, rows in arms.items()}
    differences = [cached - live for cached, live in zip(finals["cached"], finals["live"], strict=True)]
    summary = {
        "kl_before": arms["live"][0]["before"]["kl"],
        **{f"kl_{name}": statistics.mean(values) for name, values in finals.items()},
        **{f"kl_{name}_sd": statistics.stdev(values) for name, values in finals.items()},
        "kl_cached_minus_live": statistics.mean(differences),
        "standard_error": statistics.stdev(differences) / len(differences) ** 0.5,
        "bytes_per_token": statistics.mean(bytes_per_row),
    }
    print(json.dumps(summary, indent=2))
    result = {"bench": "cache training", "machine": describe_machine(), "text_sha256": digest, "model": args.model.name}
    settings = {name: str(value) for name, value in vars(args).items() if name not in ("model", "out")}
    args.out.write_text(
        json.dumps({**result, "arguments": settings, "arms": arms, "summary": summary}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
