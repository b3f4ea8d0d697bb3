"""Adapters on disk: peft's layout, checked against names and settings that peft itself wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import decoder_of, packed, peer_of, random_config
from peft_layout import PEFT_CONFIG
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from spiritsafe.core.errors import CompatibilityError, IntegrityError, SourceError
from spiritsafe.core.records import Checkpoint
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.checkpoints.directory import save_checkpoint
from spiritsafe.models.checkpoints.lineage import LINEAGE, parent_of, verify_checkpoint
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.lora.adapters import add_lora, lora_config, lora_state
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.lora.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, load_lora, save_lora

BASE = Checkpoint(name="a base", digest="sha256:" + "1" * 64, license="MIT", num_parameters=1, weight_bytes=4)
OTHER = BASE.model_copy(update={"name": "another", "digest": "sha256:" + "2" * 64})
CONFIG = LoraConfig(rank=3, alpha=6.0, targets=("q", "v", "down"))
LENGTHS = (7, 12)


def base_model() -> Decoder:
    return decoder_of(peer_of(random_config("llama", 6) | {"num_hidden_layers": 2}, 6))


def adapted_model() -> Decoder:
    model = base_model()
    add_lora(model, CONFIG)
    for index, tensor in enumerate(lora_state(model).values()):
        tensor.copy_(0.2 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(index)))
    return model


def save(directory: Path, model: Decoder | None = None, base: Checkpoint = BASE) -> Checkpoint:
    return save_lora(directory, model or adapted_model(), base=base, name="adapter", license="MIT")


def peft_directory(directory: Path, **settings: Any) -> Path:
    """A directory as peft writes it, with the tensors of :func:`adapted_model` and changed settings."""
    save(directory)
    (directory / LINEAGE).unlink()
    (directory / ADAPTER_CONFIG).write_text(json.dumps(PEFT_CONFIG | settings))
    return directory


def change_tensors(directory: Path, **changes: torch.Tensor | None) -> None:
    """Replace, add or (None) drop tensors; names are short, for the first layer's query."""
    tensors = load_file(directory / ADAPTER_WEIGHTS)
    for name, tensor in changes.items():
        full = f"base_model.model.model.layers.0.self_attn.q_proj.{name}.weight"
        tensors.pop(full, None)
        if tensor is not None:
            tensors[full] = tensor
    save_file(tensors, directory / ADAPTER_WEIGHTS)


def test_saved_and_loaded_is_the_same_model(tmp_path: Path) -> None:
    model, batch = adapted_model(), packed(LENGTHS, 96)
    saved = save(tmp_path / "adapter", model)
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == sorted(
        [ADAPTER_CONFIG, ADAPTER_WEIGHTS, LINEAGE]
    )
    again = base_model()
    assert load_lora(again, tmp_path / "adapter", base=BASE) == CONFIG
    assert torch.equal(again(batch), model(batch))
    assert not torch.equal(again(batch), base_model()(batch))
    assert {name for name, p in again.named_parameters() if p.requires_grad} == {
        name for name, p in model.named_parameters() if p.requires_grad
    }
    assert verify_checkpoint(tmp_path / "adapter") == saved
    assert saved.parents == (parent_of(BASE, "weights"),)
    assert saved.num_parameters * 4 == saved.weight_bytes == 4 * sum(t.numel() for t in lora_state(model).values())


def test_names_and_settings_are_pefts(tmp_path: Path) -> None:
    save(tmp_path / "adapter")
    with safe_open(tmp_path / "adapter" / ADAPTER_WEIGHTS, framework="pt") as file:
        names = set(file.keys())
        assert file.metadata() == {"format": "pt"}
    assert names == {
        f"base_model.model.model.layers.{layer}.{path}.lora_{which}.weight"
        for layer in (0, 1)
        for path in ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")
        for which in "AB"
    }
    settings = json.loads((tmp_path / "adapter" / ADAPTER_CONFIG).read_text())
    assert settings.keys() <= PEFT_CONFIG.keys()
    assert settings.pop("target_modules") == ["q_proj", "v_proj", "down_proj"]
    assert settings.pop("base_model_name_or_path") == "a base"
    assert settings.pop("lora_dropout") == 0.0
    assert settings == {key: PEFT_CONFIG[key] for key in settings}
    assert isinstance(settings["lora_alpha"], int)
    uneven = base_model()
    add_lora(uneven, LoraConfig(rank=3, alpha=0.7))
    save(tmp_path / "uneven", uneven)
    assert json.loads((tmp_path / "uneven" / ADAPTER_CONFIG).read_text())["lora_alpha"] == 0.7
    assert load_lora(base_model(), tmp_path / "uneven", base=BASE).alpha == 0.7


@pytest.mark.parametrize("modules", [PEFT_CONFIG["target_modules"], ["q_proj", "v_proj", "down_proj"], "all-linear"])
def test_what_peft_wrote_is_read(modules: list[str] | str, tmp_path: Path) -> None:
    model = base_model()
    assert load_lora(model, peft_directory(tmp_path, target_modules=modules), base=OTHER) == CONFIG
    assert torch.equal(model(packed(LENGTHS, 96)), adapted_model()(packed(LENGTHS, 96)))


def test_half_precision_adapters_are_cast_to_the_models_type(tmp_path: Path) -> None:
    model = adapted_model().to(torch.bfloat16)
    save(tmp_path / "half", model)
    assert {t.dtype for t in load_file(tmp_path / "half" / ADAPTER_WEIGHTS).values()} == {torch.bfloat16}
    wide = base_model()
    load_lora(wide, tmp_path / "half", base=BASE)
    for name, tensor in lora_state(wide).items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, lora_state(model)[name].float())


@pytest.mark.parametrize(
    "settings",
    [
        {"peft_type": "IA3"},
        {"use_dora": True},
        {"use_rslora": True},
        {"bias": "all"},
        {"lora_bias": True},
        {"init_lora_weights": "pissa"},
        {"modules_to_save": ["lm_head"]},
        {"rank_pattern": {"q_proj": 8}},
        {"alpha_pattern": {"q_proj": 8}},
        {"layers_to_transform": [0]},
        {"fan_in_fan_out": True},
        {"a_key_of_tomorrow": 1},
        {"r": "three"},
        {"r": 0},
        {"lora_alpha": None},
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": ["q_proj", "v_proj", "down_proj", "lm_head"]},
    ],
    ids=str,
)
def test_settings_that_the_decoder_does_not_do_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    model = base_model()
    with pytest.raises(CompatibilityError) as error:
        load_lora(model, peft_directory(tmp_path, **settings), base=BASE)
    assert error.value.hint
    assert lora_config(model) is None
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_tensors_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model = base_model()
    width = model.hidden_size
    cases: list[tuple[str, dict[str, torch.Tensor | None]]] = [
        ("lack tensor", {"lora_A": None}),
        ("hold the unknown tensor", {"lora_C": torch.zeros(3, width)}),
        ("has shape", {"lora_A": torch.zeros(3, width + 1)}),
        ("has shape", {"lora_A": torch.zeros(4, width)}),
    ]
    for index, (message, changes) in enumerate(cases):
        directory = peft_directory(tmp_path / str(index))
        change_tensors(directory, **changes)
        with pytest.raises(CompatibilityError, match=message):
            load_lora(model, directory, base=BASE)
        assert lora_config(model) is None
    directory = peft_directory(tmp_path / "empty")
    save_file({}, directory / ADAPTER_WEIGHTS)
    with pytest.raises(CompatibilityError, match="names"):
        load_lora(model, directory, base=BASE)
    deeper = decoder_of(peer_of(random_config("llama", 6) | {"num_hidden_layers": 3}, 6))
    with pytest.raises(CompatibilityError, match=r"lack tensor .*layers\.2"):
        load_lora(deeper, peft_directory(tmp_path / "shallow"), base=BASE)


def test_adapters_of_another_base_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "adapter", base=OTHER)
    model = base_model()
    with pytest.raises(CompatibilityError, match="trained on another"):
        load_lora(model, tmp_path / "adapter", base=BASE)
    assert lora_config(model) is None
    (tmp_path / "adapter" / LINEAGE).unlink()  # as the hint says
    assert load_lora(model, tmp_path / "adapter", base=BASE) == CONFIG
    with pytest.raises(CompatibilityError, match="already"):
        load_lora(model, tmp_path / "adapter", base=BASE)


def test_damaged_and_missing_files_are_named(tmp_path: Path) -> None:
    save(tmp_path)
    whole = (tmp_path / ADAPTER_WEIGHTS).read_bytes()
    (tmp_path / ADAPTER_WEIGHTS).write_bytes(whole[:-4])
    with pytest.raises(IntegrityError, match="not what its"):
        load_lora(base_model(), tmp_path, base=BASE)
    (tmp_path / LINEAGE).unlink()
    with pytest.raises(SourceError, match="not a whole safetensors file"):
        load_lora(base_model(), tmp_path, base=BASE)
    (tmp_path / ADAPTER_WEIGHTS).unlink()
    with pytest.raises(SourceError, match="holds no"):
        load_lora(base_model(), tmp_path, base=BASE)
    (tmp_path / ADAPTER_CONFIG).write_text("[]")
    with pytest.raises(SourceError, match="not a table"):
        load_lora(base_model(), tmp_path, base=BASE)


def test_only_adapters_are_overwritten_and_only_adapters_are_saved(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "diary.txt").write_text("mine")
    with pytest.raises(SourceError, match="not an adapter"):
        save(tmp_path / "other")
    with pytest.raises(CompatibilityError, match="no adapters to save"):
        save(tmp_path / "plain", base_model())
    first, second = save(tmp_path / "adapter"), adapted_model()
    next(iter(lora_state(second).values())).zero_()
    assert save(tmp_path / "adapter", second).digest != first.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "other"]


def test_a_model_with_adapters_is_not_saved_as_if_it_had_none(tiny_directory: Path, tmp_path: Path) -> None:
    model = adapted_model()
    with pytest.raises(CompatibilityError, match="not part of its weights") as error:
        save_checkpoint(tmp_path / "model", model, ChatFormat(tiny_directory), name="x", license="MIT")
    assert "merge_lora" in error.value.hint
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CompatibilityError):
        model.hf_state_dict()
