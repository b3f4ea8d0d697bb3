"""Quantised GGUF files by llama.cpp: its K- and IQ-quants, which no other library writes.

In: a GGUF file of unquantised weights, a file type, and an importance matrix where one is wanted. Out: a second file,
whole or absent, with the same header but for its type. The work is done in a process of its own. The same input gives
the same bytes, with any number of threads.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gguf
import numpy as np

from spiritsafe.core.errors import CompatibilityError, ProcedureError, StorageError
from spiritsafe.core.files.atomic import atomic_path, storage_errors
from spiritsafe.core.process.children.child_process import ChildProcess
from spiritsafe.core.process.environment import child_environment
from spiritsafe.models.gguf.facts import FileFacts, file_facts
from spiritsafe.models.gguf.reader import GGUFFile
from spiritsafe.models.gguf.types import FileType, find_file_type
from spiritsafe.models.llama_cpp.importance import ImportanceMatrix
from spiritsafe.models.llama_cpp.process import require_llama_cpp

_PLAIN = tuple(gguf.GGMLQuantizationType[kind] for kind in ("F32", "F16", "BF16"))
_LEAST_SHARE = 1e-6
_LAST_LINES = 3
_SEND_TIMEOUT_S = 60.0
_COMMAND = (sys.executable, "-m", "spiritsafe.models.llama_cpp.quantise_child")


def quantise_file(
    source: Path, target: Path, file_type: str, *, importance: ImportanceMatrix | None = None, threads: int = 1
) -> FileFacts:
    """Write a quantised GGUF file.

    Args:
        source: A GGUF file of float32, float16 or bfloat16 weights.
        file_type: A quantised one: "q4_k_m".
        importance: Of the source's model; the errors of each column are weighed by it.
        threads: Of the computation.

    Returns:
        What the file really holds: llama.cpp stores a matrix whose width is no multiple of a type's blocks in another.

    Raises:
        SourceError: The source is missing or damaged.
        CompatibilityError: There is no such file type, or it needs an importance matrix; the source is quantised
            already; the importance is of another model; llama.cpp is not installed, or it refuses: the message ends
            with what it said.
        ProcedureError: llama.cpp's process broke down.
        StorageError: The target cannot be written.
    """
    wanted = _wanted(file_type, importance)
    widths = _widths(source)
    if importance is not None:
        _check_importance(importance, widths)
    require_llama_cpp()
    with atomic_path(target) as temporary, _importance_file(importance) as weighed:
        request = {
            "source": str(source.absolute()),
            "target": str(temporary.absolute()),
            "file_type": wanted.number,
            "threads": threads,
            "importance": weighed,
        }
        _run(request, what=f"{source} as {wanted.name}")
        if _widths(temporary, quantised=True) != widths:
            raise ProcedureError(
                f"llama.cpp wrote other tensors than {source} holds.", hint="Install another release of llama.cpp."
            )
    return file_facts(target)


def _wanted(name: str, importance: ImportanceMatrix | None) -> FileType:
    """The file type of a name, where llama.cpp can write it."""
    wanted = find_file_type(name)
    if wanted.tensor in _PLAIN:
        raise CompatibilityError(f"{wanted.name} is no quantised file type.", hint="Write such a file with write_gguf.")
    if importance is None and wanted.needs_importance:
        raise CompatibilityError(
            f"A file of type {wanted.name} is rubbish without an importance matrix, so llama.cpp writes none.",
            hint="Measure one with measure_importance, or take q3_k_m, iq3_s or a larger type.",
        )
    return wanted


def _widths(path: Path, *, quantised: bool = False) -> dict[str, tuple[int, ...]]:
    """Name → shape of a file's tensors.

    Raises:
        CompatibilityError: It is quantised, and shall not be.
    """
    with GGUFFile(path) as file:
        if not quantised:
            for name, tensor in file.tensors.items():
                if tensor.kind not in _PLAIN:
                    raise CompatibilityError(
                        f"{path} is quantised already: {name} is {tensor.kind.name}.",
                        hint="Quantise a file of type f32, f16 or bf16: what a first rounding lost stays lost.",
                    )
        return {name: tensor.shape for name, tensor in file.tensors.items()}


def _check_importance(importance: ImportanceMatrix, widths: Mapping[str, tuple[int, ...]]) -> None:
    """The importance is of this model: it has every matrix of its layers, in its width, and no other."""
    hint = "Measure the importance of the very model that is quantised."
    matrices = {name: shape for name, shape in widths.items() if len(shape) > 1 and name.endswith(".weight")}
    for name, sums_KC in importance.sums.items():
        shape = matrices.get(name)
        if shape is None or sums_KC.shape != (math.prod(shape[:-2]), shape[-1]):
            raise CompatibilityError(
                f"The importance matrix has {list(sums_KC.shape)} numbers for {name}, "
                f"the file {'no such matrix' if shape is None else f'a matrix of {list(shape)}'}.",
                hint=hint,
            )
    for name in matrices:
        if name not in importance.sums and name.startswith("blk.") and "_norm." not in name:
            raise CompatibilityError(f"The importance matrix says nothing of {name}.", hint=hint)


@contextmanager
def _importance_file(importance: ImportanceMatrix | None) -> Iterator[str | None]:
    """The weights of errors where the child reads them: mean squared inputs over their mean.

    Where all columns of a block weigh nothing, because no text of the measurement reached them, llama.cpp would store
    zeros for it without a word: every column keeps a small weight.
    """
    if importance is None:
        yield None
        return
    weights: dict[str, Any] = {}
    for name in importance.sums:
        means_KC = importance.means(name)
        scale_K1 = means_KC.mean(axis=1, keepdims=True, dtype=np.float64)
        shares_KC = np.divide(means_KC, scale_K1, out=np.ones_like(means_KC, dtype=np.float64), where=scale_K1 > 0)
        weights[name] = np.maximum(shares_KC, _LEAST_SHARE).astype(np.float32)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "importance.npz"
        with storage_errors(path):
            np.savez(path, **weights)
        yield str(path)


def _run(request: Mapping[str, Any], *, what: str) -> None:
    # A backtrace of a crash would start a debugger.
    child = ChildProcess(_COMMAND, env=child_environment(GGML_NO_BACKTRACE="1"))
    try:
        child.send(json.dumps(request).encode() + b"\n", timeout_s=_SEND_TIMEOUT_S)
        line = child.receive(None)
        how, hint = child.ending() if line is None else ("", "")
    finally:
        child.stop(0.0)
    said = " / ".join(child.stderr_tail().splitlines()[-_LAST_LINES:]) or "nothing"
    if line is None:
        raise ProcedureError(f"llama.cpp's process {how} while it wrote {what}; it said: {said}", hint=hint)
    if json.loads(line)["code"] == 0:
        return
    if "iostream" in said:  # what C++ calls a write that failed
        raise StorageError(f"{what} cannot be written; llama.cpp said: {said}", hint="Free some space on the disk.")
    raise CompatibilityError(
        f"llama.cpp does not write {what}; it said: {said}", hint="Take another file type, or another llama.cpp."
    )
