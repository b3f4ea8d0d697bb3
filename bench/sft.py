"""Packed fine-tuning on mixed lengths: spiritsafe against TRL's SFTTrainer, in useful tokens a second.

    python bench/sft.py MODEL_DIRECTORY --out bench/results/sft-<machine>.json

Gate before any timing: both compute the same loss and gradient norm over the same documents; a configuration of the
peer that does not is named as a different objective and not timed. Then blocks in the order A B B A,
each in a process of its own (no shared caches, no shared allocator state), the first steps of each left out; every
configuration of the peer is run and its best one is the one compared with. Useful tokens are those of the documents:
padding counts for nobody. Both take the same documents, the same tokens a step and the same optimiser settings; the
peer keeps its activations too (its default of recomputing them would make it slower).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import describe_machine

PEER_CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "padded": {},
    "grouped": {"train_sampling_strategy": "group_by_length"},
    "packed": {"packing": True, "packing_strategy": "bfd"},
}
LEARNING_RATE, WEIGHT_DECAY, BETAS = 1e-5, 0.01, (0.9, 0.95)


def make_documents(vocab: int, args: argparse.Namespace) -> list[tuple[list[int], list[int]]]:
    """Token ids and labels: log-normal lengths, a prompt of a third, optionally one system prompt for all."""
    rng = random.Random(args.seed)
    prefix = [rng.randrange(vocab) for _ in range(args.shared_prefix)]
    documents = []
    for _ in range(args.documents):
        length = round(rng.lognormvariate(math.log(args.median), args.sigma))
        length = min(max(length, 12), args.longest - len(prefix))
        tokens = prefix + [rng.randrange(vocab) for _ in range(length)]
        num_prompt = len(prefix) + length // 3
        documents.append((tokens, [-100] * num_prompt + tokens[num_prompt:]))
    return documents


def micro_batch_size(documents: list[tuple[list[int], list[int]]], args: argparse.Namespace) -> int:
    """Documents in one micro-batch of the peer that hold, on average, as many tokens as one of ours."""
    mean = statistics.fmean(len(tokens) for tokens, _ in documents)
    return max(1, round(args.micro_batch_tokens / mean))


def to_document(tokens: list[int], labels: list[int]) -> Any:
    from spiritsafe.models.interface.batch import Document

    return Document(token_ids=tuple(tokens), supervised=tuple(label != -100 for label in labels))


def load_ours(args: argparse.Namespace) -> Any:
    import torch

    from spiritsafe.models.transformers_backend.loading import load_model

    return load_model(args.model, dtype=torch.float32, device=args.device, implementation="decoder").model


def make_peer(args: argparse.Namespace, documents: list[tuple[list[int], list[int]]], directory: str, mode: str) -> Any:
    """TRL's trainer on the same documents."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    size = micro_batch_size(documents, args)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="sdpa")
    columns = {"input_ids": [tokens for tokens, _ in documents], "labels": [labels for _, labels in documents]}
    more = dict(PEER_CONFIGURATIONS[mode])
    if more.get("packing"):
        more["max_length"] = args.micro_batch_tokens
        size = 1
    accumulation = max(1, round(args.tokens_per_step / args.micro_batch_tokens))
    config = SFTConfig(
        output_dir=directory,
        max_steps=args.warmup + args.steps,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=accumulation,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        adam_beta1=BETAS[0],
        adam_beta2=BETAS[1],
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        gradient_checkpointing=False,
        bf16=args.dtype == "bfloat16",
        use_cpu=args.device == "cpu",
        report_to="none",
        save_strategy="no",
        logging_steps=10**6,
        disable_tqdm=True,
        **{"max_length": None, **more},
    )
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return SFTTrainer(model=model, args=config, train_dataset=Dataset.from_dict(columns), processing_class=tokenizer)


def gate(args: argparse.Namespace) -> dict[str, Any]:
    """Loss and gradient norm over the same documents, in float32, of both and in each configuration of the peer."""
    import torch

    from spiritsafe.models.interface.batch import pack_documents
    from spiritsafe.training import TracesObjective

    def norm_of(model: Any) -> float:
        return float(torch.nn.utils.get_total_norm([p.grad.double() for p in model.parameters()]))

    model = load_ours(args)
    documents = make_documents(model.vocab_size, args)[: args.gate_documents]
    num_targets = sum(label != -100 for _, labels in documents for label in labels[1:])
    batch = pack_documents([to_document(*document) for document in documents]).to(args.device)
    loss = float(TracesObjective()(model, batch, float(num_targets)).loss)
    norm = norm_of(model)
    found: dict[str, Any] = {"loss": loss, "grad_norm": norm, "peers": {}}
    float32 = argparse.Namespace(**{**vars(args), "dtype": "float32"})
    for mode in args.peers:
        with tempfile.TemporaryDirectory() as directory:
            trainer = make_peer(float32, documents, directory, mode)
            trainer.model.train()
            total = 0.0
            for inputs in trainer.get_train_dataloader():
                moved = {k: v.to(args.device) if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
                part = trainer.compute_loss(trainer.model, moved, num_items_in_batch=torch.tensor(num_targets))
                part.backward()
                total += float(part.detach())
            peer_norm = norm_of(trainer.model)
        found["peers"][mode] = {
            "loss": total,
            "grad_norm": peer_norm,
            "loss_difference": abs(loss / total - 1.0),
            "grad_norm_difference": abs(norm / peer_norm - 1.0),
            "passed": abs(loss / total - 1.0) < 1e-4 and abs(norm / peer_norm - 1.0) < 1e-3,
        }
    return found


def time_ours(args: argparse.Namespace) -> dict[str, Any]:
    from spiritsafe.core.canonical import JSON
    from spiritsafe.training import TracesObjective, TrainConfig, train

    model = load_ours(args)
    documents = make_documents(model.vocab_size, args)
    ends: list[float] = []

    class Clock:
        def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
            ends.append(time.perf_counter())

        def metrics(self, kind: str, values: dict[str, JSON]) -> None:
            pass

    config = TrainConfig(
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        betas=BETAS,
        tokens_per_step=args.tokens_per_step,
        micro_batch_tokens=args.micro_batch_tokens,
        max_steps=args.warmup + args.steps,
        compute_dtype=args.dtype,
        checkpoint_every_s=None,
    )
    with tempfile.TemporaryDirectory() as directory:
        result = train(
            model,
            [to_document(*document) for document in documents],
            TracesObjective(),
            config,
            directory=Path(directory),
            events=Clock(),
        )
    rows = result.curve[args.warmup :]
    return {
        "seconds": [after - before for before, after in itertools.pairwise(ends)][args.warmup :],
        "tokens": [row["tokens"] for row in rows],
        "supervised_tokens": [row["supervised_tokens"] for row in rows],
    }


def time_peer(args: argparse.Namespace, mode: str) -> dict[str, Any]:
    from transformers import AutoConfig, TrainerCallback

    documents = make_documents(AutoConfig.from_pretrained(args.model).vocab_size, args)
    ends: list[float] = []
    counts: list[list[int]] = [[0, 0]]

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())
            counts.append([0, 0])

    with tempfile.TemporaryDirectory() as directory:
        trainer = make_peer(args, documents, directory, mode)
        trainer.add_callback(Clock())
        training_step = trainer.training_step

        def counted(model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
            mask, labels = inputs.get("attention_mask"), inputs["labels"]
            counts[-1][0] += int(labels.numel() if mask is None else mask.sum())
            counts[-1][1] += int((labels[:, 1:] != -100).sum())
            return training_step(model, inputs, *rest, **more)

        trainer.training_step = counted
        trainer.train()
    kept = counts[args.warmup : args.warmup + args.steps]
    return {
        "seconds": [after - before for before, after in itertools.pairwise(ends)][args.warmup - 1 :],
        "tokens": [tokens for tokens, _ in kept],
        "supervised_tokens": [supervised for _, supervised in kept],
    }


def run_block(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """One block in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--block", name]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        return {"name": name, "error": done.stderr[-4000:]}
    return {"name": name, **json.loads(done.stdout.splitlines()[-1])}


def rate(blocks: list[dict[str, Any]], what: str) -> float:
    """Median over all steps of tokens a second."""
    return statistics.median(
        count / seconds for block in blocks for count, seconds in zip(block[what], block["seconds"], strict=True)
    )


def summarise(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    names = sorted({block["name"] for block in blocks if "error" not in block})
    rates = {
        name: {
            what: round(rate([b for b in blocks if b["name"] == name and "error" not in b], what), 2)
            for what in ("tokens", "supervised_tokens")
        }
        for name in names
    }
    peers = [name for name in names if name != "ours"]
    if "ours" not in rates or not peers:
        return {"rates": rates}
    best = max(peers, key=lambda name: rates[name]["tokens"])
    return {
        "rates": rates,
        "best_peer": best,
        "ratio_tokens": round(rates["ours"]["tokens"] / rates[best]["tokens"], 3),
        "ratio_supervised_tokens": round(rates["ours"]["supervised_tokens"] / rates[best]["supervised_tokens"], 3),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, help="a Hugging Face directory, SmolLM2-135M for the published numbers")
    parser.add_argument("--out", type=Path, required=True, help="raw results as JSON")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--median", type=int, default=110, help="median length of a document")
    parser.add_argument("--sigma", type=float, default=0.6, help="spread of the log-normal lengths")
    parser.add_argument("--longest", type=int, default=512)
    parser.add_argument(
        "--shared-prefix", type=int, default=0, help="tokens of a system prompt that all documents share"
    )
    parser.add_argument("--tokens-per-step", type=int, default=4096)
    parser.add_argument("--micro-batch-tokens", type=int, default=1024)
    parser.add_argument("--warmup", type=int, default=2, help="steps left out, at least 1")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--gate-documents", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=1, help="how often A B B A is repeated")
    parser.add_argument(
        "--peers", nargs="+", choices=sorted(PEER_CONFIGURATIONS), default=["padded", "grouped", "packed"]
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--block", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    args = parse()
    if args.block:
        import torch

        torch.set_num_threads(args.threads)
        if args.block == "gate":
            print(json.dumps(gate(args)))
        else:
            print(json.dumps(time_ours(args) if args.block == "ours" else time_peer(args, args.block)))
        return 0
    result: dict[str, Any] = {
        "machine": describe_machine("transformers", "trl", device=args.device, threads=args.threads),
        "arguments": {k: str(v) for k, v in vars(args).items()},
    }
    result["gate"] = run_block(args, "gate")
    print("gate:", json.dumps(result["gate"], indent=2))
    peers = [name for name, found in result["gate"].get("peers", {}).items() if found["passed"]]
    result["different_objective"] = [name for name in args.peers if name not in peers]
    result["blocks"] = []
    for name in [name for peer in peers for name in ("ours", peer, peer, "ours")] * args.rounds:
        result["blocks"].append(run_block(args, name))
        print(name, "failed" if "error" in result["blocks"][-1] else "done", flush=True)
    result["summary"] = summarise(result["blocks"])
    print(json.dumps(result["summary"], indent=2))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 0 if peers else 1


if __name__ == "__main__":
    sys.exit(main())
