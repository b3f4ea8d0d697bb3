from __future__ import annotations

import json

import pytest
import torch
from architectures import ROPES, random_config
from gguf_models import LLAMA3, PLAIN

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Checkpoint, Parent
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.gguf.convert import spdx_license
from spiritsafe.models.gguf.metadata import gguf_architecture, model_metadata, origin_metadata, rope_factors
from spiritsafe.models.gguf.types import FILE_TYPES

DIGEST = "sha256:" + "2" * 64


def config(family: str = "llama", **changes: object) -> DecoderConfig:
    return DecoderConfig.from_hf(random_config(family, 1) | {"rope_parameters": PLAIN} | changes)


def plain(metadata: dict[str, object]) -> dict[str, object]:
    return {key: value.content for key, value in metadata.items()}  # type: ignore[attr-defined]


def test_sizes_stand_under_llama_cpps_keys() -> None:
    one = config("granite", num_attention_heads=4, num_key_value_heads=2, hidden_size=64, rope_theta=None)
    found = plain(model_metadata(one, FILE_TYPES["q8_0"]))
    assert (found["general.architecture"], found["general.file_type"]) == ("granite", 7)
    assert found["granite.attention.head_count_kv"] == 2
    assert found["granite.attention.key_length"] == found["granite.rope.dimension_count"] == 16
    assert (found["granite.logit_scale"], found["granite.attention.scale"]) == (2.5, 0.2)
    assert found["granite.embedding_scale"] == 3.0
    assert found["granite.residual_scale"] == 0.4


def test_a_mistral_is_a_llama_there_unless_its_window_is_narrow() -> None:
    assert gguf_architecture(config("mistral", sliding_window=None)) == "llama"
    assert gguf_architecture(config("mistral", sliding_window=64)) == "llama"  # no shorter than its context
    with pytest.raises(CompatibilityError, match="is 5 tokens"):
        gguf_architecture(config("mistral", sliding_window=5))


@pytest.mark.parametrize("rope", [ROPES[3], ROPES[5]], ids=["dynamic", "yarn"])
def test_rotary_scalings_that_llama_cpp_does_not_share_are_refused(rope: dict[str, object]) -> None:
    with pytest.raises(CompatibilityError, match=str(rope["rope_type"])):
        gguf_architecture(config(rope_parameters=rope))


def test_the_factors_are_those_of_llama_cpps_converter() -> None:
    usual = LLAMA3 | {"original_max_position_embeddings": 8192, "rope_theta": 500000.0}
    one = config(rope_parameters=usual, head_dim=64, max_position_embeddings=131072)
    factors = rope_factors(one)
    assert factors is not None
    wavelengths = 2 * torch.pi * 500000.0 ** (torch.arange(0, 64, 2, dtype=torch.float64) / 64)
    smooth = (8192 / wavelengths - 1.0) / (4.0 - 1.0)
    blended = 1 / ((1 - smooth) / 8.0 + smooth)
    slow, fast = wavelengths > 8192 / 1.0, wavelengths < 8192 / 4.0
    expected = torch.where(fast, 1.0, torch.where(slow, 8.0, blended))
    assert torch.allclose(factors.double(), expected, rtol=1e-5)
    assert "spiritsafe.rope_parameters" not in model_metadata(one, FILE_TYPES["f16"])
    assert rope_factors(config()) is None
    unusual = model_metadata(config(rope_parameters=LLAMA3), FILE_TYPES["f16"])["spiritsafe.rope_parameters"]
    assert json.loads(unusual.content)["original_max_position_embeddings"] == 16


def test_parents_whose_weights_are_in_it_are_base_models() -> None:
    base = Parent(name="org/base", digest=DIGEST, license="MIT", used_as=("weights",))
    teacher = Parent(name="teacher", digest=DIGEST, license="MIT", used_as=("logits",))
    sizes = {"num_parameters": 1, "weight_bytes": 4, "digest": DIGEST}
    one = Checkpoint(name="student", license="LicenseRef-llama3.2", parents=(base, teacher), recipe=DIGEST, **sizes)
    found = plain(origin_metadata(one, "student-q8"))
    assert found["general.name"] == "student-q8"
    assert (found["general.license"], found["general.license.name"]) == ("LicenseRef-llama3.2", "llama3.2")
    assert found["general.base_model.count"] == 1
    assert found["general.base_model.0.repo_url"] == "https://huggingface.co/org/base"
    assert (found["general.base_model.0.organization"], found["general.base_model.0.name"]) == ("org", "base")
    assert found["spiritsafe.recipe"] == DIGEST
    assert Checkpoint.from_json(json.loads(str(found["spiritsafe.lineage"]))) == one
    free = plain(origin_metadata(Checkpoint(name="x", license="MIT", **sizes), "x"))
    assert free["general.license.link"] == "https://spdx.org/licenses/MIT.html"
    assert "general.base_model.count" not in free
    silent = plain(origin_metadata(Checkpoint(name="x", license=spdx_license(None), **sizes), "x"))
    assert not [key for key in silent if key.startswith("general.license")]
