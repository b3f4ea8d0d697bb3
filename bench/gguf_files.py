"""GGUF files of one model: bytes, what is really in them, and how far from the model they are on general text.

    python bench/gguf_files.py DIRECTORY --out bench/results/gguf-files-cpu.json

Files of our own writer and of llama.cpp's quantiser, the latter with and without an importance matrix. The matrix is
measured on sections of this project's documentation and on every second of the package's general texts; the others are
what the files are compared on. KL divergences are over the whole vocabulary, in nats a token, with 95 % intervals over
documents; what importance changes is paired by document. Each file runs in llama.cpp on one thread. Seconds are CPU
seconds of writing, the measurement of importance not included.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from machine import describe_machine
from spiritsafe.models.gguf.facts import FileFacts
from spiritsafe.models.gguf.types import FILE_TYPES
from spiritsafe.models.gguf.write import write_gguf
from spiritsafe.models.interface.batch import Document
from spiritsafe.models.llama_cpp.fidelity.logits import kl_divergences, parent_logits
from spiritsafe.models.llama_cpp.fidelity.texts import general_texts
from spiritsafe.models.llama_cpp.importance import ImportanceMatrix, measure_importance
from spiritsafe.models.llama_cpp.process import LlamaProcess
from spiritsafe.models.llama_cpp.quantise import quantise_file
from spiritsafe.models.transformers_backend.loading import load_model
from spiritsafe.stats import Estimate, korn_graubard_interval, ratio_interval

FILES = (
    ("f32", False), ("f16", False), ("q8_0", False), ("q4_k_m", False), ("q4_k_m", True), ("iq4_nl", False),
    ("iq4_nl", True), ("q4_0", False), ("q4_0", True),
)  # fmt: skip
DOCS = Path(__file__).parents[1] / "docs"


def calibration_texts(num_sections: int) -> list[str]:
    """Sections of the documentation, and every second general text."""
    sections = [part for path in sorted(DOCS.glob("*.md")) for part in path.read_text("utf-8").split("\n## ")[1:]]
    step = max(1, len(sections) // num_sections)
    return [*sections[::step][:num_sections], *(one.text for one in general_texts()[::2])]


def cpu_seconds() -> float:
    """Of this process and of the children that ended."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def write(directory: Path, target: Path, name: str, source: Path, importance: ImportanceMatrix | None) -> FileFacts:
    if FILE_TYPES[name].is_written_here and importance is None:
        return write_gguf(directory, target, name)
    return quantise_file(source, target, name, importance=importance)


def shown(estimate: Estimate) -> dict[str, float]:
    return {name: float(f"{getattr(estimate, name):.4g}") for name in ("value", "low", "high")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("directory", type=Path, help="a model directory in Hugging Face's layout")
    parser.add_argument("--out", type=Path, required=True, help="raw results as JSON")
    parser.add_argument("--sections", type=int, default=40, help="of the documentation, for importance")
    parser.add_argument("--tokens", type=int, default=64, help="most of a text")
    args = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load_model(args.directory, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(args.directory, local_files_only=True)

    def tokens(texts: list[str]) -> list[list[int]]:
        return [tokenizer(text).input_ids[: args.tokens] for text in texts]

    started = cpu_seconds()
    calibration = tokens(calibration_texts(args.sections))
    importance = measure_importance(
        loaded.model, [Document(token_ids=tuple(ids), supervised=(False,) * len(ids)) for ids in calibration]
    )
    result: dict[str, Any] = {
        "machine": describe_machine("gguf", "llama-cpp-py-sync", threads=1),
        "model": loaded.checkpoint.name,
        "importance": {
            "documents": importance.num_documents,
            "tokens": sum(map(len, calibration)),
            "cpu_s": round(cpu_seconds() - started, 1),
        },
        "files": [],
        "importance_changes": [],
    }
    documents = tokens([one.text for one in general_texts()[1::2]])
    lengths = [len(ids) for ids in documents]
    result["documents"], result["tokens"] = len(documents), sum(lengths)
    parents = [parent_logits(loaded.model, ids) for ids in documents]
    sums: dict[tuple[str, bool], np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.gguf"
        write_gguf(args.directory, source, "f32")
        for name, weighed in FILES:
            target = Path(folder) / "file.gguf"
            started = cpu_seconds()
            facts = write(args.directory, target, name, source, importance if weighed else None)
            seconds = cpu_seconds() - started
            with LlamaProcess(target, context=args.tokens) as process:
                found = [kl_divergences(p, process.logits(ids)) for p, ids in zip(parents, documents, strict=True)]
                build = process.facts.version
            sums[name, weighed] = np.array([kl.sum() for kl, _ in found])
            row = {
                "file_type": name,
                "importance": weighed,
                "bytes": facts.file_bytes,
                "types": {one.type: one.num_tensors for one in facts.types},
                "bits_per_weight": round(facts.bits_per_weight, 3),
                "substituted_share": round(facts.substituted_share, 3),
                "kl": shown(ratio_interval(sums[name, weighed], lengths, least=0.0)),
                "largest_kl": float(f"{max(float(kl.max()) for kl, _ in found):.4g}"),
                "agreement": shown(korn_graubard_interval([int(same.sum()) for _, same in found], lengths)),
                "cpu_s": round(seconds, 1),
            }
            result["llama_cpp"] = build
            result["files"].append(row)
            print(json.dumps(row), flush=True)
            if (name, False) in sums and weighed:
                change = ratio_interval(sums[name, True] - sums[name, False], lengths)
                result["importance_changes"].append({"file_type": name, "kl": shown(change)})
    args.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
