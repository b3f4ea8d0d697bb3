"""The teacher cache: bytes a token against the error of a student's gradient, ours and three peers' ways to keep rows.

    python bench/cache.py MODEL_DIRECTORY --out bench/results/cache-cpu.json

Writes the JSON and, beside it, the plot. Teacher: the model; student: the same without layers 13 to 17, not healed.
Text: sources of Python's standard library (PSF licence), whose digest is recorded. Error: relative, of the gradient of
forward KL by the student's last hidden state, of the mean over all rows and of single rows (root mean square); ways
that draw are repeated with several seeds, and the root mean square over them is given.

Ours are captured into files and read back from them, and their bytes are those of all files. Peers are re-implemented
from their formulas, with exact probabilities and the fewest bytes that their formats take with 16-bit ids: DistillKit's
top-k renormalised (its option ``zero``) and with the rest as one bucket of teacher and student (``symmetric_uniform``),
312 bytes at k = 128 and 114 at k = 50; random sampling with replacement (RS-KD, arXiv 2503.16870), 16 bits of id and
7 of count a draw.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import inspect
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from machine import describe_machine
from spiritsafe.distil.cache import (
    CacheCandidate,
    CachedTeacher,
    CaptureConfig,
    GradientError,
    cached_candidate,
    capture,
    gradient_error,
)
from spiritsafe.models import Document, LoadedModel, load_model
from spiritsafe.models.pruning.depth import cut_depth
from spiritsafe.models.transformers_backend.loading import load_decoder

DROPPED = range(13, 18)
PEER_BYTES = {128: 312.0, 50: 114.0}
COLOURS = {
    "ours: threshold": "#1b6e53",
    "ours: head + draws": "#58a68c",
    "top-k renormalised": "#b3452c",
    "top-k + one bucket": "#d08a2e",
    "RS-KD": "#4a6fa5",
}


class Remembering:
    """A frozen model that runs each batch once; captures of other settings then cost their own work only."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._seen: dict[bytes, Tensor] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, batch: Any) -> Tensor:
        key = batch.token_ids_N.numpy().tobytes()
        if key not in self._seen:
            self._seen[key] = self._model(batch)
        return self._seen[key]


def text_documents(loaded: LoadedModel, num_rows: int, length: int) -> tuple[list[Document], str]:
    import heapq
    import statistics
    import textwrap

    text = "\n".join(inspect.getsource(module) for module in (heapq, textwrap, statistics))
    ids = loaded.chat.completion_ids(text)[: num_rows + -(-num_rows // length)]
    parts = [ids[start : start + length + 1] for start in range(0, len(ids), length + 1)]
    documents = [Document(token_ids=tuple(p), supervised=(False, *[True] * (len(p) - 1))) for p in parts if len(p) > 1]
    return documents, hashlib.sha256(text.encode()).hexdigest()


def ours(
    teacher: LoadedModel, documents: list[Document], seeds: int, root: Path
) -> Iterator[tuple[str, CacheCandidate]]:
    configs = [{"threshold": value} for value in (0.05, 0.02, 0.01, 0.008, 0.005, 0.003, 0.002)]
    configs += [{"num_head": h, "num_draws": m} for h, m in ((16, 8), (32, 4), (32, 16), (32, 64), (32, 256))]
    for sizes in configs:
        name = f"threshold {sizes['threshold']:g}" if len(sizes) == 1 else "{num_head} + {num_draws}".format(**sizes)
        series = "ours: threshold" if len(sizes) == 1 else "ours: head + draws"
        for seed in range(seeds):
            directory = root / name.replace(" ", "") / str(seed)
            report = capture(teacher, documents, CaptureConfig(**sizes, seed=seed), directory)
            cache = CachedTeacher(directory, tokenizer=teacher.chat.vocab_fingerprint)
            yield series, cached_candidate(f"ours, {name}", cache, bytes_per_row=report.bytes_per_row)


def peers(seeds: int) -> Iterator[tuple[str, CacheCandidate]]:
    def top(k: int, renormalised: bool) -> Callable[..., Tensor]:
        def estimate(document: Document, positions: Any, probs_CV: Tensor) -> Tensor:
            values, ids = probs_CV.topk(k, 1)
            if renormalised:
                values = values / values.sum(1, keepdim=True)
            return torch.zeros_like(probs_CV).scatter_(1, ids, values)

        return estimate

    def sampled(draws: int, seed: int) -> Callable[..., Tensor]:
        generator = torch.Generator().manual_seed(seed)

        def estimate(document: Document, positions: Any, probs_CV: Tensor) -> Tensor:
            ids = torch.multinomial(probs_CV, draws, replacement=True, generator=generator)
            return torch.zeros_like(probs_CV).scatter_add_(1, ids, torch.full(ids.shape, 1.0 / draws))

        return estimate

    for k, size in PEER_BYTES.items():
        for bucket, series in ((False, "top-k renormalised"), (True, "top-k + one bucket")):
            name = f"{series}, k = {k}"
            yield series, CacheCandidate(name=name, bytes_per_row=size, estimate=top(k, not bucket), one_bucket=bucket)
    for draws in (12, 50):
        for seed in range(seeds):
            name = f"RS-KD, {draws} draws"
            yield "RS-KD", CacheCandidate(name=name, bytes_per_row=draws * 23 / 8, estimate=sampled(draws, seed))


def over_seeds(series: list[str], lines: list[GradientError]) -> list[dict[str, Any]]:
    grouped: dict[str, list[tuple[str, GradientError]]] = {}
    for name, line in zip(series, lines, strict=True):
        grouped.setdefault(line.name, []).append((name, line))

    def rms(values: list[float]) -> float:
        return round(float(np.sqrt(np.mean(np.square(values)))), 5)

    return [
        {
            "series": members[0][0],
            "name": name,
            "bytes_per_token": round(float(np.mean([line.bytes_per_row for _, line in members])), 2),
            "mean_gradient_error": rms([line.mean_error for _, line in members]),
            "token_gradient_error": rms([line.token_error for _, line in members]),
            "mean_gradient_error_by_seed": [round(line.mean_error, 5) for _, line in members],
            "num_seeds": len(members),
        }
        for name, members in grouped.items()
    ]


def slope(rows: list[dict[str, Any]]) -> float:
    """Exponent of the error of the mean gradient in the number of draws, with 32 exact ids; -0.5: unbiased draws."""
    points = [
        (int(r["name"].split("+ ")[1]), r["mean_gradient_error"]) for r in rows if r["name"].startswith("ours, 32 +")
    ]
    return round(float(np.polyfit(*np.log(np.array(points).T), 1)[0]), 3)


def plot(rows: list[dict[str, Any]], title: str) -> str:
    """Bytes a token against the error of the mean gradient, both on log scales."""
    width, height, left, right, top, bottom = 760, 470, 74, 20, 44, 56
    low_x, high_x, low_y, high_y = math.log(20), math.log(600), math.log(0.01), math.log(2.0)

    def at(size: float, error: float) -> tuple[float, float]:
        x = left + (math.log(size) - low_x) / (high_x - low_x) * (width - left - right)
        y = top + (high_y - math.log(max(error, 0.01))) / (high_y - low_y) * (height - top - bottom)
        return x, y

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="13"><title>{title}</title><rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{left}" y="24" font-size="15" font-weight="bold">{title}</text>',
    ]
    for size in (20, 50, 75, 150, 300, 600):
        x, _ = at(size, 1.0)
        parts.append(f'<path d="M{x:.1f} {top}V{height - bottom}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - bottom + 18}" text-anchor="middle">{size}</text>')
    for error in (0.01, 0.03, 0.06, 0.1, 0.3, 1.0):
        _, y = at(20, error)
        parts.append(f'<path d="M{left} {y:.1f}H{width - right}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{error:.0%}</text>')
    parts.append(f'<text x="{(left + width - right) / 2}" y="{height - 14}" text-anchor="middle">bytes a token</text>')
    parts.append(
        f'<text transform="translate(18 {(top + height - bottom) / 2}) rotate(-90)" text-anchor="middle">'
        "error of the mean gradient</text>"
    )
    for place, (series, colour) in enumerate(COLOURS.items()):
        mine = sorted((r["bytes_per_token"], r["mean_gradient_error"]) for r in rows if r["series"] == series)
        inside = [at(*point) for point in mine if 20 <= point[0] <= 600]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in inside)
        parts.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>' for x, y in inside]
        y = height - bottom - 14 - 20 * (len(COLOURS) - 1 - place)
        parts.append(f'<circle cx="{left + 18}" cy="{y - 4}" r="4.5" fill="{colour}"/>')
        parts.append(f'<text x="{left + 30}" y="{y}">{series}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--length", type=int, default=256, help="rows of a document")
    parser.add_argument("--seeds", type=int, default=4)
    args = parser.parse_args()
    loaded = load_model(args.directory, dtype=torch.float32)
    documents, text_digest = text_documents(loaded, args.rows, args.length)
    teacher = LoadedModel(
        model=Remembering(loaded.model), chat=loaded.chat, checkpoint=loaded.checkpoint, directory=loaded.directory
    )
    with tempfile.TemporaryDirectory() as folder:
        keep = [layer for layer in range(loaded.model.num_layers) if layer not in DROPPED]
        cut_depth(args.directory, Path(folder) / "student", keep, name="student")
        student = load_decoder(Path(folder) / "student", dtype=torch.float32)
        found = [*ours(teacher, documents, args.seeds, Path(folder)), *peers(args.seeds)]
        candidates = [candidate for _, candidate in found]
        lines = gradient_error(student, teacher.model, documents, candidates)
    rows = over_seeds([series for series, _ in found], lines)
    for row in rows:
        print(json.dumps(row))
    own = [row for row in rows if row["series"].startswith("ours")]
    record = {
        "bench": "cache",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": f"python bench/cache.py MODEL --rows {args.rows} --length {args.length} --seeds {args.seeds}",
        "model": loaded.checkpoint.name,
        "model_digest": loaded.checkpoint.digest,
        "student": f"without layers {DROPPED.start} to {DROPPED.stop - 1}, not healed",
        "text_sha256": text_digest,
        "num_rows": lines[0].num_rows,
        "machine": describe_machine("transformers", "spiritsafe"),
        "error_exponent_in_draws": slope(rows),
        "best_within_bytes": {
            str(limit): min((r for r in own if r["bytes_per_token"] <= limit), key=lambda r: r["mean_gradient_error"])
            for limit in (75, 150)
        },
        "results": rows,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    title = f"Teacher cache, {record['model']}, {record['num_rows']} tokens"
    args.out.with_suffix(".svg").write_text(plot(rows, title))


if __name__ == "__main__":
    main()
