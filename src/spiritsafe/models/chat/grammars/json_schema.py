"""JSON schemas that answers are held to: which of their keywords mean something, and which merely describe.

In: a schema as text. Out: the same as a value, or a refusal that names the keyword. llguidance refuses known keywords
that it does not implement, and passes over what it has never heard of, as JSON Schema allows: a misspelt ``maxlength``
would hold nobody to anything, so it is refused here.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

from spiritsafe.models.chat.calls.prompt import RefusedJob

_DEEPEST = 64

_ONE = frozenset(
    {
        "additionalItems",
        "additionalProperties",
        "contains",
        "contentSchema",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
_MANY = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
_NAMED = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
_VALUES = frozenset(
    {
        "$anchor",
        "$dynamicAnchor",
        "$dynamicRef",
        "$id",
        "$ref",
        "$schema",
        "const",
        "dependentRequired",
        "dependencies",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "maxContains",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minContains",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "pattern",
        "required",
        "type",
        "uniqueItems",
    }
)
_DESCRIBING = frozenset(
    {
        "$comment",
        "$vocabulary",
        "contentEncoding",
        "contentMediaType",
        "default",
        "deprecated",
        "description",
        "discriminator",
        "example",
        "examples",
        "externalDocs",
        "readOnly",
        "title",
        "writeOnly",
        "xml",
    }
)
_KNOWN = _ONE | _MANY | _NAMED | _VALUES | _DESCRIBING


def checked_schema(source: str, param: str) -> dict[str, Any]:
    """A schema, all of whose keywords are known ones.

    Args:
        param: Field of the job to blame.

    Raises:
        RefusedJob: It is no schema, is nested too deeply, or has a keyword that is unknown.
    """
    try:
        schema = json.loads(source)
    except (ValueError, RecursionError) as error:
        raise _refused(f"is not read: {error}", "Give one JSON object.", param) from error
    if not isinstance(schema, dict):
        raise _refused("is no JSON object", "Give one JSON object.", param)
    level: list[Any] = [schema]
    for _ in range(_DEEPEST):
        for one in level:
            _check_keywords(one, param)
        level = [part for one in level for part in _parts(one)]
        if not level:
            return schema
    raise _refused(f"is nested deeper than {_DEEPEST} schemas", "Name inner schemas in $defs.", param)


def _check_keywords(schema: dict[str, Any], param: str) -> None:
    for keyword in schema:
        if keyword in _KNOWN or (keyword.startswith("x-") and keyword != "x-guidance"):
            continue
        near = difflib.get_close_matches(keyword, sorted(_KNOWN), n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Leave it out; what only describes may be called x-…."
        raise _refused(f"has the keyword {keyword[:80]!r}, which is none of JSON Schema", hint, param)


def _parts(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schemas in a schema."""
    for keyword, value in schema.items():
        found: list[Any] = []
        if isinstance(value, list) and keyword in _MANY:
            found = value
        elif isinstance(value, dict) and keyword in _NAMED:
            found = list(value.values())
        elif keyword in _ONE:
            found = [value]
        yield from (part for part in found if isinstance(part, dict))


def _refused(what: str, hint: str, param: str) -> RefusedJob:
    return RefusedJob(f"The schema {what}.", hint=hint, param=param)
