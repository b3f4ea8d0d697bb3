from __future__ import annotations

import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import tiny_gguf
from llama_cpp import llama_quantise, needs_llama_cpp

from spiritsafe.core.errors import CompatibilityError, ProcedureError, SourceError, StorageError
from spiritsafe.models.gguf.types import FILE_TYPES
from spiritsafe.models.llama_cpp import quantise
from spiritsafe.models.llama_cpp.importance import ImportanceMatrix
from spiritsafe.models.llama_cpp.quantise import quantise_file

pytestmark = needs_llama_cpp
HIDDEN, INNER = 256, 512


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float32 file whose rows are whole blocks of 256."""
    path = tmp_path_factory.mktemp("source") / "f32.gguf"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"HIDDEN": HIDDEN, "INNER": INNER, "WIDTH": 64}.items():
            patch.setattr(tiny_gguf, name, value)
        tiny_gguf.write_gguf(path, architecture="qwen3", kind="F32")
    return path


def matrices(path: Path) -> dict[str, gguf.ReaderTensor]:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors if len(tensor.shape) > 1}


def values(tensor: gguf.ReaderTensor) -> np.ndarray:
    return gguf.dequantize(tensor.data, tensor.tensor_type).reshape([int(size) for size in tensor.shape[::-1]])


def uneven(path: Path, *, scale: float = 1.0, dead: slice = slice(0)) -> ImportanceMatrix:
    """Columns of very different importance."""
    draw = np.random.default_rng(3)
    sums = {
        name: scale * np.exp(3 * draw.standard_normal((1, int(tensor.shape[0])))).astype(np.float32)
        for name, tensor in matrices(path).items()
    }
    for sums_KC in sums.values():
        sums_KC[:, dead] = 0
    counts = {name: np.array([10.0], dtype=np.float32) for name in sums}
    return ImportanceMatrix(sums=sums, counts=counts, datasets=(), num_documents=1, longest=10)


@pytest.mark.parametrize("file_type", [name for name, kind in FILE_TYPES.items() if kind.needs_importance])
def test_types_that_need_importance_are_refused_without_it_before_anything_is_begun(
    file_type: str, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(CompatibilityError, match=f"{file_type} is rubbish without"):
        quantise_file(source, tmp_path / "folder" / "target", file_type)
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("file_type", ["q4_k_m", "iq4_nl", "iq2_xs", "q4_0"])
def test_importance_lowers_the_errors_that_it_weighs(source: Path, tmp_path: Path, file_type: str) -> None:
    importance, floats = uneven(source), {name: values(tensor) for name, tensor in matrices(source).items()}
    even = ImportanceMatrix(
        sums={name: np.ones_like(sums) for name, sums in importance.sums.items()},
        counts=importance.counts,
        datasets=(),
        num_documents=1,
        longest=10,
    )
    errors: dict[str, dict[str, float]] = {}
    for label, given in (("with", importance), ("without", even if "iq2" in file_type else None)):
        facts = quantise_file(source, tmp_path / label, file_type, importance=given)
        assert (facts.file_type, facts.substituted_share) == (file_type, 0.0)
        assert facts.file_bytes == (tmp_path / label).stat().st_size
        errors[label] = {
            name: float((importance.means(name) * (values(tensor) - floats[name]) ** 2).sum())
            for name, tensor in matrices(tmp_path / label).items()
        }
    assert sum(errors["with"].values()) < 0.8 * sum(errors["without"].values())
    same_type = [
        n
        for n, t in matrices(tmp_path / "with").items()
        if t.tensor_type == matrices(tmp_path / "without")[n].tensor_type
    ]
    assert all(errors["with"][name] < errors["without"][name] for name in same_type)


def test_the_same_bytes_come_of_any_number_of_threads_and_any_unit_of_importance(source: Path, tmp_path: Path) -> None:
    for label, threads, scale in (("a", 1, 1.0), ("b", 2, 1.0), ("c", 1, 2.0**-60)):
        quantise_file(source, tmp_path / label, "iq4_nl", importance=uneven(source, scale=scale), threads=threads)
    written = {label: (tmp_path / label).read_bytes() for label in "abc"}
    assert written["a"] == written["b"] == written["c"]
    kept, header = (
        {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items() if not name.startswith("GGUF.")}
        for path in (source, tmp_path / "a")
    )
    assert {name: header.get(name) for name in kept} == kept
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "c"}


@pytest.mark.parametrize("file_type", ["q4_k_m", "iq4_nl", "q5_0"])
def test_columns_that_no_text_reached_keep_their_weights(source: Path, tmp_path: Path, file_type: str) -> None:
    dead = uneven(source, dead=slice(0, 256))
    quantise_file(source, tmp_path / "out", file_type, importance=dead)
    np.savez(tmp_path / "raw.npz", **{name: dead.means(name).reshape(-1) for name in dead.sums})
    llama_quantise(source, tmp_path / "raw", FILE_TYPES[file_type].number, importance=tmp_path / "raw.npz")
    alone = matrices(tmp_path / "raw")
    for name, tensor in matrices(tmp_path / "out").items():
        given, kept, lost = (values(one)[:, :256] for one in (matrices(source)[name], tensor, alone[name]))
        assert ((kept - given) ** 2).mean() < 0.1 * (given**2).mean(), name
        assert not lost.any()  # what llama.cpp does by itself, and without a word


def test_rows_that_are_no_whole_blocks_are_told_of(tmp_path: Path) -> None:
    tiny_gguf.write_gguf(tmp_path / "f32.gguf", architecture="qwen2", kind="F32", tied=False)  # rows of 64 and 96
    facts = quantise_file(tmp_path / "f32.gguf", tmp_path / "q4_k_m.gguf", "q4_k_m")
    kinds = {tensor.tensor_type.name for tensor in matrices(tmp_path / "q4_k_m.gguf").values()}
    assert kinds == {"Q5_0", "Q8_0"}
    assert facts.substituted_share > 0.8  # all but the head
    assert facts.bits_per_weight > 5.5  # what people take for 4.5


def test_what_cannot_be_quantised_says_why_and_leaves_nothing(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "target"
    tiny_gguf.write_gguf(tmp_path / "q8.gguf")
    with pytest.raises(CompatibilityError, match=r"is quantised already: .* is Q8_0"):
        quantise_file(tmp_path / "q8.gguf", target, "q4_0")
    tiny_gguf.write_gguf(tmp_path / "small.gguf", kind="F32")
    with pytest.raises(CompatibilityError, match=r"64\] numbers for .*, the file a matrix of"):
        quantise_file(source, target, "q4_0", importance=uneven(tmp_path / "small.gguf"))
    whole = uneven(source)
    less = {name: sums for name, sums in whole.sums.items() if name != "blk.1.ffn_up.weight"}
    parts = {"counts": {name: whole.counts[name] for name in less}, "datasets": (), "num_documents": 1, "longest": 1}
    with pytest.raises(CompatibilityError, match=r"says nothing of blk\.1\.ffn_up\.weight"):
        quantise_file(source, target, "q4_0", importance=ImportanceMatrix(sums=less, **parts))
    for name, told in (("nvfp4", "no file type 'nvfp4'"), ("f16", "f16 is no quantised file type")):
        with pytest.raises(CompatibilityError, match=told):
            quantise_file(source, target, name)
    with pytest.raises(SourceError, match="no file"):
        quantise_file(tmp_path / "none.gguf", target, "q4_0")
    assert not target.parent.exists()
    tiny_gguf.write_gguf(tmp_path / "foreign.gguf", architecture="nosuch", kind="F32")
    with pytest.raises(CompatibilityError, match=r"does not write .*unknown model architecture: 'nosuch'"):
        quantise_file(tmp_path / "foreign.gguf", target, "q4_0")
    assert list(target.parent.iterdir()) == []


def test_a_process_that_dies_and_a_disk_that_is_full_are_errors(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out" / "target"
    dying = tmp_path / "dying.py"
    dying.write_text(
        "import os, sys; sys.stdin.readline(); print('GGML_ASSERT(x) failed', file=sys.stderr, flush=True); os.abort()"
    )
    with monkeypatch.context() as patch:
        patch.setattr(quantise, "_COMMAND", [sys.executable, str(dying)])
        with pytest.raises(ProcedureError, match=r"ended .*GGML_ASSERT\(x\) failed"):
            quantise_file(source, target, "q4_0")
    resource = pytest.importorskip("resource", reason="limits of files are POSIX's")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StorageError, match="cannot be written"):
            quantise_file(source, target, "q4_0")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(target.parent.iterdir()) == []
