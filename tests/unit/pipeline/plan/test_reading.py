from __future__ import annotations

import pytest
import torch

from spiritsafe.models import preferred_dtype
from spiritsafe.pipeline.plan.reading import reading_of
from spiritsafe.pipeline.recipe.load import load_recipe

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("wish", ["on", "off"])
def test_auto_is_what_the_device_computes_in(wish: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIRITSAFE_BF16", wish)
    recipe, _ = load_recipe("tiny")
    for name in ("base", "teacher"):  # given, and made by the run
        assert reading_of(recipe, name, CPU).dtype == (torch.bfloat16 if wish == "on" else torch.float32)
        assert reading_of(recipe, name, CUDA).name == "bfloat16"


@pytest.mark.parametrize(
    ("said", "name"), [("float32", "float32"), ("bfloat16", "bfloat16"), ("8bit", "8bit+"), ("4bit", "4bit+")]
)
def test_a_given_model_is_held_as_its_table_says(said: str, name: str) -> None:
    recipe, _ = load_recipe("tiny", (f'models.base.dtype="{said}"',))
    found = reading_of(recipe, "base", CPU)
    assert found.name.startswith(name)
    assert found.name.endswith(str(found.dtype).removeprefix("torch."))
    assert reading_of(recipe, "teacher", CPU).weights is None
    if found.weights is not None:
        assert found.dtype == preferred_dtype(CPU)
