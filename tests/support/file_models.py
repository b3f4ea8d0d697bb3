"""File models of tiny random weights: a GGUF file with its lineage, and the same weights for our own engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny_gguf import write_gguf

from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.files.digests import digest_file
from spiritsafe.core.records import Checkpoint
from spiritsafe.models.checkpoints.directory import write_lineage
from spiritsafe.models.gguf.convert import convert_gguf
from spiritsafe.models.running.generators.local_generator import LocalGenerator
from spiritsafe.models.transformers_backend.loading import load_model


def file_model_of(folder: Path, **what: Any) -> Path:
    """A directory with a file as :func:`tiny_gguf.write_gguf` writes it, and its lineage."""
    folder.mkdir(parents=True)
    file = folder / "x.gguf"
    weights = write_gguf(file, **what)
    checkpoint = Checkpoint(
        name="x",
        digest=digest_file(file),
        license="Apache-2.0",
        num_parameters=sum(tensor.numel() for tensor in weights.values()),
        weight_bytes=file.stat().st_size,
    )
    write_json(folder / "lineage.json", checkpoint.to_json())
    return folder


def converted(file_model: Path, out: Path) -> LocalGenerator:
    """Our engine over the same weights, made float32."""
    out.mkdir()
    convert_gguf(file_model / "x.gguf", out)
    write_lineage(out, name="x", license="Apache-2.0")
    return LocalGenerator(load_model(out, dtype=torch.float32))
