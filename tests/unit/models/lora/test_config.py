from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from spiritsafe.models.lora.config import LoraConfig


@pytest.mark.parametrize(
    "settings",
    [{"targets": ()}, {"targets": ("q", "q")}, {"targets": ("head",)}, {"rank": 0}, {"alpha": 0.0}, {"dropout": 0}],
)
def test_nonsense_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LoraConfig(**settings)
