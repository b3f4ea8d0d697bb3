"""Answers held against the types of OpenAI's client, which the client itself does not check.

``strictly(ChatCompletion, body)``: every field has its type, and nothing is there that the types do not know, but for
what other servers of this interface add (``reasoning_content``).
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel

Model = TypeVar("Model", bound=BaseModel)

_KNOWN_BEYOND = {"reasoning_content"}


def strictly(model: type[Model], value: Any) -> Model:
    checked = model.model_validate(value, strict=True)
    assert _beyond(checked) <= _KNOWN_BEYOND
    return checked


def _beyond(value: Any) -> set[str]:
    if isinstance(value, BaseModel):
        inside = (_beyond(getattr(value, name)) for name in type(value).model_fields)
        return set(value.model_extra or {}).union(*inside)
    if isinstance(value, list):
        return set().union(*map(_beyond, value))
    return set()
