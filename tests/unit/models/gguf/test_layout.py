from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType

from spiritsafe.models.gguf.layout import Entry, boolean, float32, floats, integers, text, texts, uint, write_file
from spiritsafe.models.gguf.reader import GGUFFile

METADATA = {
    "general.architecture": text("llama"),
    "a.size": uint(2**31 + 5),
    "a.share": float32(0.1),
    "a.yes": boolean(True),
    "a.words": texts(["", "日本", "a b"]),
    "a.none": texts([]),
    "a.ids": integers([-1, 7]),
    "a.scores": floats([0.5, -2.0]),
}
VECTOR = Entry(name="v", shape=(3,), kind=GGMLQuantizationType.F32)
MATRIX = Entry(name="m", shape=(2, 5), kind=GGMLQuantizationType.F16)
BYTES = {"v": np.arange(3, dtype=np.float32).view(np.uint8), "m": np.arange(10, dtype=np.float16).view(np.uint8)}


def test_the_gguf_library_reads_what_was_written(tmp_path: Path) -> None:
    write_file(tmp_path / "x.gguf", METADATA, [VECTOR, MATRIX], lambda entry: BYTES[entry.name])
    read = gguf.GGUFReader(tmp_path / "x.gguf")
    assert [(one.name, list(one.shape), one.tensor_type) for one in read.tensors] == [
        ("v", [3], GGMLQuantizationType.F32),
        ("m", [5, 2], GGMLQuantizationType.F16),
    ]
    assert read.tensors[1].data.reshape(-1).tolist() == list(range(10))
    assert all(one.data_offset % 32 == 0 for one in read.tensors)
    assert {key: read.fields[key].contents() for key in METADATA if key != "a.none"} == {
        "general.architecture": "llama", "a.size": 2**31 + 5, "a.share": float(np.float32(0.1)), "a.yes": True,
        "a.words": ["", "日本", "a b"], "a.ids": [-1, 7], "a.scores": [0.5, -2.0],
    }  # fmt: skip


def test_our_reader_reads_it_too(tmp_path: Path) -> None:
    write_file(tmp_path / "x.gguf", METADATA, [VECTOR, MATRIX], lambda entry: BYTES[entry.name])
    with GGUFFile(tmp_path / "x.gguf") as file:
        assert file.metadata["a.none"] == []
        assert file.metadata["a.share"] == 0.1
        assert file.load("m").tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_a_tensor_of_another_size_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="announced 20 bytes, got 12"):
        write_file(tmp_path / "x.gguf", {}, [MATRIX], lambda entry: BYTES["v"])
    assert list(tmp_path.iterdir()) == []
