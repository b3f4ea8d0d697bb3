from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from tiny_gguf import hf_weights, vocabulary, write_gguf

from spiritsafe.core.errors import SourceError
from spiritsafe.models.gguf.reader import GGUFFile


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(path, kind="Q4_1")
    return path


def test_metadata_and_tensors_are_those_of_the_reference_reader(path: Path) -> None:
    reference = gguf.GGUFReader(path)
    with GGUFFile(path) as file:
        assert file.metadata["llama.attention.layer_norm_rms_epsilon"] == 1e-5
        assert file.metadata["tokenizer.ggml.tokens"] == vocabulary()
        assert set(file.tensors) == {tensor.name for tensor in reference.tensors}
        for tensor in reference.tensors:
            expected = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            assert torch.equal(file.load(tensor.name), torch.from_numpy(expected.copy()))


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q4_0", "Q8_0"])
def test_every_kind_is_read_within_its_precision(kind: str, tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf", kind=kind)
    expected = hf_weights("llama", tied=True)["model.layers.0.mlp.up_proj.weight"]
    with GGUFFile(tmp_path / "x.gguf") as file:
        found = file.load("blk.0.ffn_up.weight")
    tolerance = {"F32": 0.0, "F16": 1e-3, "BF16": 1e-2, "Q8_0": 2e-2, "Q4_0": 0.2}[kind]
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) <= tolerance


@pytest.mark.parametrize("keep", [0, 3, 4, 20, 500, 5000, -1])
def test_a_truncated_file_is_named(keep: int, path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "cut.gguf"
    data = path.read_bytes()
    broken.write_bytes(data[:keep])
    with pytest.raises(SourceError, match=r"cut\.gguf"):
        GGUFFile(broken)


def test_garbage_and_foreign_files_are_named(tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(4000)
    for content in (b"PK\x03\x04" + bytes(500), noise, b"GGUF" + b"\xff" * 400, b"GGUF\1\0\0\0"):
        (tmp_path / "junk.gguf").write_bytes(content)
        with pytest.raises(SourceError, match=r"junk\.gguf"):
            GGUFFile(tmp_path / "junk.gguf")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent\.gguf"):
        GGUFFile(tmp_path / "absent.gguf")


def test_flipped_bits_in_the_header_never_escape_as_another_error(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    with GGUFFile(path) as file:
        header = min(tensor.offset for tensor in file.tensors.values())
    draw = random.Random(1)
    # The first bytes hold counts and lengths, the last ones the tensor table: where a flip does the most harm.
    places = [*range(0, 200), *draw.sample(range(200, header), 100), *range(header - 1500, header, 8)]
    messages: list[str] = []
    for place in places:
        broken = bytearray(data)
        broken[place] ^= 1 << draw.randrange(8)
        target = tmp_path / "flipped.gguf"
        target.write_bytes(broken)
        try:
            with GGUFFile(target) as file:
                for name in list(file.tensors)[:3]:
                    file.load(name)
        except SourceError as error:
            messages.append(str(error))
    assert len(messages) > 150
    assert all("flipped.gguf" in message for message in messages)


def test_a_poisoned_tensor_is_named(tmp_path: Path) -> None:
    write_gguf(tmp_path / "nan.gguf", kind="F32", poison="model.layers.1.mlp.up_proj.weight")
    with GGUFFile(tmp_path / "nan.gguf") as file, pytest.raises(SourceError, match=r"blk\.1\.ffn_up"):
        file.load("blk.1.ffn_up.weight")


def test_a_required_key_of_another_type_is_named(path: Path) -> None:
    with GGUFFile(path) as file:
        assert file.require("llama.block_count", int) == 2
        with pytest.raises(SourceError, match=r"general\.license"):
            file.require("general.license", int)
        with pytest.raises(SourceError, match=r"no\.such"):
            file.require("no.such", str)


def _table(path: Path) -> dict[str, int]:
    """Where each tensor's offset stands in the header."""
    reader = gguf.GGUFReader(path)
    return {tensor.name: int(tensor.field.offset) for tensor in reader.tensors}


@pytest.mark.parametrize("kind", ["key", "tensor", "overlap", "same"])
def test_what_two_readers_would_read_two_things_in_is_refused(kind: str, path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    if kind == "key":  # one that others read first, and one that others read last
        old, new = b"llama.rope.freq_base", b"llama.context_length"
    elif kind == "tensor":
        old, new = b"blk.1.attn_q.weight", b"blk.0.attn_q.weight"
    else:
        place, other = (_table(path)[f"blk.{layer}.ffn_up.weight"] for layer in (0, 1))
        width = struct.calcsize("<Q") + len("blk.0.ffn_up.weight") + struct.calcsize("<I2QI")
        offset = int.from_bytes(data[place + width : place + width + 8], "little") + (32 if kind == "overlap" else 0)
        data = data[: other + width] + offset.to_bytes(8, "little") + data[other + width + 8 :]
        old = new = b""
    assert data.count(old) >= 1
    (tmp_path / "two.gguf").write_bytes(data.replace(old, new) if old else data)
    with pytest.raises(SourceError, match=r"two\.gguf .*twice"):
        GGUFFile(tmp_path / "two.gguf")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.gguf")
    with pytest.raises(SourceError, match="a pipe, not a file"):
        GGUFFile(tmp_path / "x.gguf")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_factor_that_is_no_number_is_refused(value: float, path: Path, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(path.read_bytes().replace(struct.pack("<f", 50000.0), struct.pack("<f", value)))
    with pytest.raises(SourceError, match=r"'llama\.rope\.freq_base' is (nan|inf)"):
        GGUFFile(tmp_path / "x.gguf")
