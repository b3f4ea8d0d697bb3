from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from gguf_models import model

from spiritsafe.cli.model_options import checkpoint_of
from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.files.digests import digest_model
from spiritsafe.core.records import Parent
from spiritsafe.models.checkpoints.lineage import read_checkpoint, verify_checkpoint
from spiritsafe.models.gguf.lineage import write_file_lineage
from spiritsafe.models.gguf.write import write_gguf


def test_the_digest_of_a_file_model_is_what_sha256sum_says_of_the_file(tmp_path: Path) -> None:
    model(tmp_path / "x")
    facts = write_gguf(tmp_path / "x", tmp_path / "y/toy.gguf", "q8_0")
    parent = Parent(name="Toy", digest=digest_model(tmp_path / "x"), license="MIT", used_as=("weights",))
    made = write_file_lineage(tmp_path / "y", name="toy-q8", license="MIT", parents=(parent,), recipe="sha256:00")
    assert made.digest == "sha256:" + hashlib.sha256((tmp_path / "y/toy.gguf").read_bytes()).hexdigest()
    assert (made.num_parameters, made.weight_bytes) == (facts.num_parameters, facts.tensor_bytes)
    assert made.num_parameters == read_checkpoint(tmp_path / "x").num_parameters
    assert verify_checkpoint(tmp_path / "y") == checkpoint_of(tmp_path / "y") == made
    raw = bytearray((tmp_path / "y/toy.gguf").read_bytes())
    raw[-40] ^= 1
    (tmp_path / "y/toy.gguf").write_bytes(raw)
    for check in (verify_checkpoint, checkpoint_of):
        with pytest.raises(IntegrityError, match=r"lineage\.json"):
            check(tmp_path / "y")


def test_a_directory_with_something_else_is_no_file_model(tmp_path: Path) -> None:
    model(tmp_path / "x")
    with pytest.raises(SourceError, match="one GGUF file"):
        write_file_lineage(tmp_path / "x", name="x", license="MIT")
    for name in ("a", "b"):
        write_gguf(tmp_path / "x", tmp_path / f"two/{name}.gguf", "q4_0")
    with pytest.raises(SourceError, match="one GGUF file"):
        write_file_lineage(tmp_path / "two", name="x", license="MIT")
