from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from heard import Heard
from tiny_training import counting_documents, tiny_decoder

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.interface.language_model import LanguageModel
from spiritsafe.models.lora.adapters import add_lora
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.training import compiled
from spiritsafe.training.compiled import StepCompiler, fast_products
from spiritsafe.training.config import TrainConfig
from spiritsafe.training.loop import train
from spiritsafe.training.objective import TracesObjective

CONFIG = TrainConfig(
    learning_rate=1e-2, tokens_per_step=150, micro_batch_tokens=60, max_steps=3, eps=1e-3, compute_dtype="float32"
)


def trained(directory: Path, wish: bool, *, lora: bool, seen: list[bool] | None = None) -> dict[str, torch.Tensor]:
    model = tiny_decoder()
    if lora:
        add_lora(model, LoraConfig(rank=2))

    def evaluate(given: LanguageModel, step: int) -> dict[str, float]:
        assert seen is not None
        seen.append("project" in vars(model.blocks[0]))
        return {}

    config = CONFIG.model_copy(update={"compile": wish})
    train(
        model, counting_documents(20), TracesObjective(), config, directory=directory,
        evaluate=None if seen is None else evaluate,
    )  # fmt: skip
    assert not any("project" in vars(block) for block in model.blocks)
    return dict(model.named_parameters())


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_layers_train_as_uncompiled_ones(tmp_path: Path) -> None:
    """Weights to 2e-6: fused operators round float32 in another order. Who evaluates has the uncompiled model."""
    seen: list[bool] = []
    found, expected = (
        trained(tmp_path / str(wish), wish, lora=False, seen=seen if wish else None) for wish in (True, False)
    )
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0.0, atol=2e-6)
    assert seen == [False]


def test_adapters_are_compiled_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced by the same front end, without the compiler behind it."""
    original = torch.compile
    monkeypatch.setattr(compiled.torch, "compile", lambda function, backend: original(function, backend="eager"))
    found, expected = (trained(tmp_path / str(wish), wish, lora=True) for wish in (True, False))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0.0, atol=2e-6)


def test_a_compiler_that_fails_kills_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = torch.compile
    monkeypatch.setattr(compiled.torch, "compile", lambda function, backend: original(function, backend="none such"))
    heard, model = Heard(), tiny_decoder()
    config = CONFIG.model_copy(update={"compile": True, "max_steps": 1})
    result = train(model, counting_documents(8), TracesObjective(), config, directory=tmp_path, events=heard)
    assert result.steps == 1
    (warning,) = heard.warnings
    assert "stay uncompiled" in warning
    assert "none such" in warning


def test_what_is_not_compiled_is_refused_by_name_and_left_alone_else() -> None:
    model = tiny_decoder()
    with pytest.raises(CompatibilityError, match="spread over processes"):
        StepCompiler(model, True, is_sharded=True, warn=print)
    assert not StepCompiler(model, "auto", is_sharded=True, warn=print).is_compiled
    assert not StepCompiler(model, "auto", is_sharded=False, warn=print).is_compiled  # no GPU
    assert not StepCompiler(model, False, is_sharded=False, warn=print).is_compiled


def test_a_gpus_products_are_fast_in_steps_alone_and_never_where_float32_was_asked_for() -> None:
    def inside(wish: str, device: str) -> str:
        with fast_products(wish, torch.device(device)):  # type: ignore[arg-type]
            return torch.get_float32_matmul_precision()

    assert inside("auto", "cuda") == inside("bfloat16", "cuda") == "high"
    assert inside("float32", "cuda") == inside("auto", "cpu") == "highest"
    assert torch.get_float32_matmul_precision() == "highest"


def test_the_key_changes_no_hash_of_a_recipe_without_it() -> None:
    assert "compile" not in CONFIG.to_json()
    assert CONFIG.model_copy(update={"compile": False}).to_json()["compile"] is False
