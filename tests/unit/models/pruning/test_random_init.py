from __future__ import annotations

from pathlib import Path

import pytest
import torch
from architectures import FAMILY_NAMES
from cut_parts import decoder_logits, documents, peer_logits, teacher_of
from safetensors.torch import load_file, save_file

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.checkpoints.lineage import verify_checkpoint
from spiritsafe.models.pruning.random_init import randomise
from spiritsafe.models.transformers_backend.loading import load_decoder


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_same_shape_other_weights(family: str, tmp_path: Path) -> None:
    source = teacher_of(tmp_path / "teacher", family, initializer_range=0.05)
    made = randomise(source, tmp_path / "random", 3, name="random", recipe="sha256:ab")
    assert verify_checkpoint(tmp_path / "random") == made
    assert (made.parents, made.license, made.recipe) == ((), "MIT", "sha256:ab")
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (tmp_path / "random" / file).read_bytes() == (source / file).read_bytes()
    old, new = load_file(source / "model.safetensors"), load_file(tmp_path / "random" / "model.safetensors")
    assert {name: t.shape for name, t in old.items()} == {name: t.shape for name, t in new.items()}
    for name, tensor in new.items():
        if name.endswith("bias"):
            assert not tensor.any()
        elif tensor.dim() == 1:
            assert torch.equal(tensor, torch.ones_like(tensor))
        else:
            assert float(tensor.std()) == pytest.approx(0.05, rel=0.1)
            assert abs(float(tensor.mean())) < 0.01
    document = documents()[-1]
    ours = decoder_logits(load_decoder(tmp_path / "random", dtype=torch.float32), document)
    torch.testing.assert_close(ours, peer_logits(tmp_path / "random", document), atol=2e-4, rtol=2e-4)


def test_the_seed_decides_and_the_type_stays(tmp_path: Path) -> None:
    source = teacher_of(tmp_path / "teacher", "llama")
    tensors = {name: t.bfloat16() for name, t in load_file(source / "model.safetensors").items()}
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    files = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        randomise(source, tmp_path / name, seed, name="random")
        files.append((tmp_path / name / "model.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]
    assert {t.dtype for t in load_file(tmp_path / "a" / "model.safetensors").values()} == {torch.bfloat16}
    tensors["model.norm.weight"] = tensors["model.norm.weight"].float()
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CompatibilityError, match="2 types: BF16, F32"):
        randomise(source, tmp_path / "d", 3, name="random")
