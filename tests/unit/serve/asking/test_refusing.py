from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from spiritsafe.serve.asking.refusing import one_of, without_types

STORED = TypeAdapter(Annotated[Literal[False], one_of(False, otherwise="it is {not} kept")])
BLOCK = TypeAdapter(Annotated[dict[str, Any], without_types({"image": "models read text"})])


@pytest.mark.parametrize("value", [True, "no", [], {}])
def test_other_values_are_refused_in_the_given_words(value: Any) -> None:
    with pytest.raises(ValidationError, match=re.escape("it is {not} kept")):
        STORED.validate_python(value, strict=True)
    assert STORED.validate_python(False, strict=True) is False


@pytest.mark.parametrize("value", [{"type": "image"}, {"type": "text"}, {"type": ["image"]}, {}])
def test_types_are_refused_in_the_given_words(value: dict[str, Any]) -> None:
    if value.get("type") == "image":
        with pytest.raises(ValidationError, match="models read text"):
            BLOCK.validate_python(value)
    else:
        assert BLOCK.validate_python(value) == value
