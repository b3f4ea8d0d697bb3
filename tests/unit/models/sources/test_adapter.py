"""A base and its adapters as one model: the arithmetic is the Decoder's own, and peft's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft_layout import PEFT_CONFIG
from safetensors.torch import load_file, save_file
from stranger_models import write_stranger

from spiritsafe.core.errors import CompatibilityError, IntegrityError, SourceError
from spiritsafe.models.checkpoints.lineage import LINEAGE, read_checkpoint, verify_checkpoint
from spiritsafe.models.lora.adapters import add_lora, lora_state, merge_lora
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.lora.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, save_lora
from spiritsafe.models.sources.config import source_config
from spiritsafe.models.sources.resolve import find_source, resolve_source
from spiritsafe.models.transformers_backend.loading import load_model

CONFIG = LoraConfig(rank=3, alpha=6.0, targets=("q", "v", "down"))


@pytest.fixture
def adapter(tiny_directory: Path, tmp_path: Path) -> Path:
    """Trained adapters, as we write them."""
    loaded = load_model(tiny_directory, dtype=torch.float32)
    add_lora(loaded.model, CONFIG)
    with torch.no_grad():
        for number, tensor in enumerate(lora_state(loaded.model).values()):
            tensor.copy_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(number)))
    save_lora(tmp_path / "adapter", loaded.model, base=loaded.checkpoint, name="adapter", license="CC-BY-NC-4.0")
    return tmp_path / "adapter"


def foreign(adapter: Path, target: Path, **settings: Any) -> Path:
    """The same, as peft leaves them: no lineage, a card, other settings."""
    shutil.copytree(adapter, target)
    (target / LINEAGE).unlink()
    (target / "README.md").write_text("---\nlicense: mit\nlibrary_name: peft\n---\n")
    given = json.loads((target / ADAPTER_CONFIG).read_text())
    (target / ADAPTER_CONFIG).write_text(json.dumps({**PEFT_CONFIG, **given, **settings}))
    return target


def test_the_merged_model_is_the_decoders_own_merge(adapter: Path, tiny_directory: Path, tmp_path: Path) -> None:
    from spiritsafe.models.lora.files import load_lora

    reference = load_model(tiny_directory, dtype=torch.float32)
    load_lora(reference.model, adapter, base=reference.checkpoint)
    merge_lora(reference.model)
    directory = resolve_source(str(tiny_directory), cache=tmp_path / "cache", adapter=adapter)
    merged = load_model(directory, dtype=torch.float32)
    expected = reference.model.state_dict()
    assert expected.keys() == merged.model.state_dict().keys()
    for name, tensor in merged.model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-6)
    base = load_file(tiny_directory / "model.safetensors")
    changed = [
        name for name, tensor in load_file(directory / "model.safetensors").items() if not tensor.equal(base[name])
    ]
    assert len(changed) == 2 * len(CONFIG.targets)


def test_its_lineage_names_both(adapter: Path, tiny_directory: Path, tmp_path: Path) -> None:
    directory = resolve_source(str(tiny_directory), cache=tmp_path / "cache", adapter=adapter)
    checkpoint = verify_checkpoint(directory)
    parents = [(parent.name, parent.digest, parent.license, parent.used_as) for parent in checkpoint.parents]
    one, two = read_checkpoint(tiny_directory), read_checkpoint(adapter)
    assert parents == [(each.name, each.digest, each.license, ("weights",)) for each in (one, two)]
    assert checkpoint.name == "tiny-7+adapter"
    assert resolve_source(str(tiny_directory), cache=tmp_path / "cache", adapter=adapter) == directory


def test_another_adapter_or_base_is_another_model(adapter: Path, tmp_path: Path) -> None:
    other = foreign(adapter, tmp_path / "other", lora_alpha=9)
    made = {
        resolve_source(spec, cache=tmp_path / "cache", adapter=path)
        for spec in ("tiny:1", "tiny:2")
        for path in (other, foreign(adapter, tmp_path / f"same-{spec[-1]}"))
    }
    assert len(made) == 4
    assert len({read_checkpoint(path).digest for path in made}) == 4
    assert {read_checkpoint(path).parents[1].license for path in made} == {"MIT"}


def test_a_plan_knows_it_without_making_it(adapter: Path, tiny_directory: Path, tmp_path: Path) -> None:
    found = source_config(str(tiny_directory), cache=tmp_path / "cache", adapter=adapter)
    assert find_source(str(tiny_directory), cache=tmp_path / "cache", adapter=adapter) is None
    directory = resolve_source(str(tiny_directory), cache=tmp_path / "cache", adapter=adapter)
    assert find_source(str(tiny_directory), cache=tmp_path / "cache", adapter=adapter) == directory
    made = read_checkpoint(directory)
    assert (found.name, found.license, found.adapter_license) == (made.name, made.license, "CC-BY-NC-4.0")
    assert (found.num_parameters, found.weight_bytes) == (made.num_parameters, made.weight_bytes)
    with pytest.raises(CompatibilityError, match="lack tensor"):
        source_config("tiny:0?layers=3", cache=tmp_path / "cache", adapter=foreign(adapter, tmp_path / "f"))


def test_a_base_in_half_precision_keeps_what_is_small(adapter: Path, tiny_directory: Path, tmp_path: Path) -> None:
    half = shutil.copytree(tiny_directory, tmp_path / "half", ignore=shutil.ignore_patterns(LINEAGE))
    weights = {name: tensor.bfloat16() for name, tensor in load_file(half / "model.safetensors").items()}
    save_file(weights, half / "model.safetensors")
    given = foreign(adapter, tmp_path / "small", lora_alpha=0.001)
    found = source_config(str(half), cache=tmp_path / "cache", adapter=given)
    directory = resolve_source(str(half), cache=tmp_path / "cache", adapter=given)
    assert found.weight_bytes == read_checkpoint(directory).weight_bytes
    merged = load_file(directory / "model.safetensors")
    name = "model.layers.1.self_attn.v_proj"
    pair = load_file(given / ADAPTER_WEIGHTS)
    change = pair[f"base_model.model.{name}.lora_B.weight"] @ pair[f"base_model.model.{name}.lora_A.weight"]
    torch.testing.assert_close(
        merged[f"{name}.weight"] - weights[f"{name}.weight"].float(), change * 0.001 / 3, atol=1e-7, rtol=1e-3
    )
    assert merged["model.norm.weight"].dtype == torch.bfloat16


def test_a_model_that_transformers_runs_takes_adapters_too(tmp_path: Path) -> None:
    base = write_stranger(tmp_path / "base", "gemma", head_dim=16)
    plain = load_model(resolve_source(str(base), cache=tmp_path / "cache"), dtype=torch.float32)
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for layer in range(2):
        stem = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors |= {
            f"{stem}.lora_A.weight": torch.randn(4, 64, generator=generator),
            f"{stem}.lora_B.weight": torch.randn(64, 4, generator=generator),
        }
    (adapter := tmp_path / "adapter").mkdir()
    save_file(tensors, adapter / ADAPTER_WEIGHTS)
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 2, "target_modules": ["q_proj"], "bias": "none"}
    (adapter / ADAPTER_CONFIG).write_text(json.dumps(settings))
    merged = load_model(resolve_source(str(base), cache=tmp_path / "cache", adapter=adapter), dtype=torch.float32)
    before, after = plain.model.state_dict(), merged.model.state_dict()
    for name, tensor in after.items():
        stem = f"base_model.{name.removesuffix('.weight')}"
        change = 0.5 * tensors[f"{stem}.lora_B.weight"] @ tensors[f"{stem}.lora_A.weight"] if "q_proj" in name else 0.0
        torch.testing.assert_close(tensor, before[name] + change, rtol=1e-5, atol=1e-5)


def test_adapters_of_another_base_are_refused(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(CompatibilityError, match="were trained on tiny-7"):
        resolve_source("tiny:0", cache=tmp_path / "cache", adapter=adapter)
    with pytest.raises(CompatibilityError, match=r"are for a model\.layers\.0\..* has \(64, 192\) there"):
        resolve_source("tiny:0?hidden=64", cache=tmp_path / "cache", adapter=foreign(adapter, tmp_path / "f"))
    assert not list((tmp_path / "cache").rglob("*.partial"))


def test_what_is_no_adapter_is_refused(adapter: Path, tiny_directory: Path, tmp_path: Path) -> None:
    def refused(path: Path, words: str, kind: type[Exception] = SourceError) -> None:
        with pytest.raises(kind, match=words):
            resolve_source(str(tiny_directory), cache=tmp_path / "cache", adapter=path)

    refused(tmp_path, f"{ADAPTER_CONFIG}, {ADAPTER_WEIGHTS} missing")
    refused(foreign(adapter, tmp_path / "dora", use_dora=True), "use_dora", CompatibilityError)
    half = foreign(adapter, tmp_path / "half")
    (half / ADAPTER_WEIGHTS).write_bytes((half / ADAPTER_WEIGHTS).read_bytes()[:-9])
    refused(half, "not a whole safetensors file")
    lone = foreign(adapter, tmp_path / "lone")
    tensors = load_file(lone / ADAPTER_WEIGHTS)
    tensors.popitem()
    save_file(tensors, lone / ADAPTER_WEIGHTS)
    refused(lone, "no half of a pair", CompatibilityError)
    refused(foreign(adapter, tmp_path / "rank", r=5), "not of rank 5", CompatibilityError)
    (adapter / ADAPTER_CONFIG).write_text((adapter / ADAPTER_CONFIG).read_text().replace("6", "7", 1))
    refused(adapter, "is not what its", IntegrityError)


def test_adapters_trained_on_a_model_that_is_told_something_find_it_again(tmp_path: Path) -> None:
    import templates_parts

    model = templates_parts.harmony(tmp_path / "model")
    told = {"template_kwargs": {"reasoning_effort": "low"}}
    for trained_on in ({}, told):
        base = load_model(resolve_source(str(model), cache=tmp_path / "cache", **trained_on), dtype=torch.float32)  # type: ignore[arg-type]
        add_lora(base.model, CONFIG)
        path = tmp_path / f"adapter-{len(trained_on)}"
        save_lora(path, base.model, base=base.checkpoint, name=path.name, license="MIT")
        made = resolve_source(str(model), cache=tmp_path / "cache", adapter=path, **told)  # type: ignore[arg-type]
        assert load_model(made, dtype=torch.float32).chat.options.template_kwargs == told["template_kwargs"]
