from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from fidelity_parts import write_model
from llama_cpp import needs_llama_cpp

from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.core.files.digests import digest_file
from spiritsafe.core.records import Message
from spiritsafe.models.checkpoints.directory import write_lineage
from spiritsafe.models.checkpoints.lineage import read_checkpoint
from spiritsafe.models.gguf.write import write_gguf
from spiritsafe.models.llama_cpp.fidelity.measure import general_documents, measure_fidelity
from spiritsafe.models.llama_cpp.fidelity.records import require_faithful
from spiritsafe.models.llama_cpp.fidelity.texts import general_texts
from spiritsafe.models.transformers_backend.loading import load_decoder

pytestmark = needs_llama_cpp


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("parent") / "model", "qwen3")


@pytest.mark.parametrize("file_type", ["f32", "f16", "q4_0"])
def test_a_file_of_the_directory_is_faithful(file_type: str, directory: Path, tmp_path: Path) -> None:
    write_gguf(directory, tmp_path / "x.gguf", file_type)
    documents = general_documents(directory)
    found = measure_fidelity(directory, tmp_path / "x.gguf", in_task=documents[:5], num_texts=20)
    require_faithful(found)
    assert (found.parent, found.file) == (read_checkpoint(directory).digest, digest_file(tmp_path / "x.gguf"))
    assert found.general.num_documents == len(general_texts())
    assert found.in_task is not None
    assert found.in_task.num_tokens == sum(map(len, documents[:5]))
    assert (found.kl_bound is None) == (found.greedy is None) == (file_type == "q4_0")
    assert (found.general.kl.value > 0.01) == (file_type == "q4_0")


def test_bfloat16_has_a_bound_where_it_holds_the_weights(directory: Path, tmp_path: Path) -> None:
    given = {"general": [[5, 6, 7], [8, 9]], "prompts": [[Message(role="user", content="the cat")]], "num_texts": 5}
    write_gguf(directory, tmp_path / "a.gguf", "bf16")
    assert measure_fidelity(directory, tmp_path / "a.gguf", **given).kl_bound is None
    half = tmp_path / "half"
    shutil.copytree(directory, half)
    load_decoder(directory, dtype=torch.bfloat16).save_weights(half)
    write_lineage(half, name="half", license="MIT")
    write_gguf(half, tmp_path / "b.gguf", "bf16")
    found = measure_fidelity(half, tmp_path / "b.gguf", **given)
    assert found.kl_bound == 1e-3
    require_faithful(found)


def test_another_models_file_and_documents_without_room_are_refused(directory: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", "qwen3", seed=9)
    write_gguf(other, tmp_path / "x.gguf", "f16")
    found = measure_fidelity(directory, tmp_path / "x.gguf", general=[[5, 6, 7], [8, 9, 10, 11]], num_texts=5)
    with pytest.raises(CompatibilityError, match=r"on general text are [\d.]+ nats from the parent's"):
        require_faithful(found)
    with pytest.raises(CompatibilityError, match=r"2000 tokens is longer than the model's context of 1024"):
        measure_fidelity(directory, tmp_path / "x.gguf", in_task=[[5] * 2000])
    with pytest.raises(SourceError, match="no file"):
        measure_fidelity(directory, tmp_path / "none.gguf")
