"""Validators that say in plain words why something cannot be had.

Pydantic's own words ("Input should be False") say what is allowed; these say what to do instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError


def one_of(*allowed: object, otherwise: str) -> BeforeValidator:
    """Takes these values; of others it says ``otherwise``."""

    def check(value: Any) -> Any:
        if value not in allowed:
            raise PydanticCustomError("unsupported_value", "{words}", {"words": otherwise})
        return value

    return BeforeValidator(check)


def without_types(refused: Mapping[str, str]) -> BeforeValidator:
    """Takes objects whose ``type`` is not among these; of those it says why."""

    def check(value: Any) -> Any:
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind in refused:
            raise PydanticCustomError("unsupported_value", "{words}", {"words": refused[kind]})
        return value

    return BeforeValidator(check)
