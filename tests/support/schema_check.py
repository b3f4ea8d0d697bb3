"""What a JSON value lacks of a JSON Schema, as far as schemas of recipes go: a second opinion in forty lines.

It knows the keywords below and refuses others, so that a schema cannot say what nobody checks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
_ORDER = {
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
}
_WORDS = {"$schema", "$defs", "title", "description", "default", "discriminator", "minLength"}
_INSIDE = {"properties", "patternProperties", "additionalProperties", "items", "prefixItems", "maxItems", "minItems"}


def schema_faults(value: Any, schema: dict[str, Any], root: dict[str, Any], where: str = "") -> list[str]:
    """What is wrong, each with its place."""
    return list(_faults(value, schema, root, where))


def _faults(value: Any, schema: dict[str, Any], root: dict[str, Any], where: str) -> Iterator[str]:
    for word, said in schema.items():
        if word == "$ref":
            yield from _faults(value, root["$defs"][said.rpartition("/")[2]], root, where)
        elif word in ("anyOf", "oneOf"):
            alternatives = [schema_faults(value, one, root, where) for one in said]
            right = sum(not faults for faults in alternatives)
            if right == 0 or (word == "oneOf" and right > 1):
                yield min(alternatives, key=len)[0] if right == 0 else f"{where}: fits several"
        elif word == "type":
            if not isinstance(value, _TYPES[said]) or (isinstance(value, bool) and said in ("integer", "number")):
                yield f"{where}: {value!r} is no {said}"
        elif word == "const" or word == "enum":
            if value not in (said if word == "enum" else [said]):
                yield f"{where}: {value!r} is none of {said}"
        elif word == "required":
            yield from (f"{where}: no {key}" for key in said if isinstance(value, dict) and key not in value)
        elif word == "pattern":
            if isinstance(value, str) and not re.search(said, value):
                yield f"{where}: {value!r} is no {said}"
        elif word in _ORDER:
            if isinstance(value, int | float) and not _ORDER[word](value, said):
                yield f"{where}: {value} against {word} {said}"
        elif word not in _WORDS | _INSIDE:
            raise AssertionError(f"{word}: nobody checks this")
    yield from _inside(value, schema, root, where)


def _inside(value: Any, schema: dict[str, Any], root: dict[str, Any], where: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            patterns = schema.get("patternProperties", {})
            found = [schema.get("properties", {}).get(key)] + [patterns[p] for p in patterns if re.search(p, key)]
            own = next((each for each in found if each is not None), schema.get("additionalProperties", {}))
            if own is False:
                yield f"{where}: unknown key {key}"
            elif isinstance(own, dict):
                yield from _faults(one, own, root, f"{where}.{key}")
    elif isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield f"{where}: {len(value)} entries"
        heads = schema.get("prefixItems", [])
        for number, one in enumerate(value):
            own = heads[number] if number < len(heads) else schema.get("items", {})
            yield from _faults(one, own, root, f"{where}.{number}")
