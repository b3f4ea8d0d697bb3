"""The keys of each table of a recipe in words: what a value looks like, what it is when left out, what it does.

In: the records of a recipe and the kinds of steps that are known; a kind that is added is told of without a line here.
Out: :class:`RecipeTable` after :class:`RecipeTable`, which the page of docs and commands show.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

from spiritsafe.core.records import Record
from spiritsafe.pipeline.recipe.kinds import kinds_of
from spiritsafe.pipeline.recipe.made import NAME_PATTERN
from spiritsafe.pipeline.recipe.reference.json_schema import purpose_of, record_schema
from spiritsafe.pipeline.recipe.schema import CompareRecipe, EngineRecipe, ExamRecipe, Recipe, TrackRecipe

REQUIRED = "required"
_BEYOND = 2**50
"""A bound that nobody meets: of numbers that JSON holds."""
_TOLD_ELSEWHERE = ("models", "data", "steps", "exams", "compare", "engine", "track")


@final
@dataclass(frozen=True, kw_only=True)
class RecipeKey:
    """One key of a table.

    Attributes:
        name: As a recipe writes it.
        value: What it looks like, in words; "" where it is a table of its own.
        table: Title of that table, or of the tables in its list; "" for none.
        default: As a recipe would write it; "required", or "" where leaving it out is itself a choice.
        said: What it does.
    """

    name: str
    value: str
    table: str
    default: str
    said: str


@final
@dataclass(frozen=True, kw_only=True)
class RecipeTable:
    """One table of a recipe.

    Attributes:
        title: ``[models.<name>]``, ``kind = "tune"``; of a table inside others, its keys: ``train``.
        said: What it is for.
        keys: In it.
        is_step: Whether it is a kind of step.
        is_inside: Whether it stands inside others.
    """

    title: str
    said: str
    keys: tuple[RecipeKey, ...]
    is_step: bool = False
    is_inside: bool = False


def recipe_tables() -> list[RecipeTable]:
    """Every table: the recipe's own keys, the six tables with each kind of step, then the tables inside these."""
    tops: list[tuple[str, type[Record]]] = [("The recipe", Recipe)]
    tops += [("[models.<name>]", kind) for kind in kinds_of("models")]
    tops += [("[data.<name>]", kind) for kind in kinds_of("data")]
    tops += [(f'kind = "{kind.model_fields["kind"].default}"', kind) for kind in kinds_of("steps")]
    tops += [("[[exams]]", ExamRecipe), ("[[compare]]", CompareRecipe), ("[engine]", EngineRecipe)]
    tops += [("[track]", TrackRecipe)]
    inner = _inner(tops)
    titles = _titles(inner)
    found = [
        RecipeTable(
            title=title, said=purpose_of(record), keys=_keys(record, titles), is_step="kind" in record.model_fields
        )
        for title, record in tops
    ]
    return found + [
        RecipeTable(title=titles[name], said=one.said, keys=_rows(one.schema, one.records, titles), is_inside=True)
        for name, one in inner.items()
    ]


def _keys(record: type[Record], titles: dict[str, str]) -> tuple[RecipeKey, ...]:
    schema = record_schema(record)
    return _rows(schema, schema.get("$defs", {}), titles, skip=_TOLD_ELSEWHERE if record is Recipe else ("kind",))


def _rows(
    schema: dict[str, Any], records: dict[str, Any], titles: dict[str, str], *, skip: tuple[str, ...] = ("seed",)
) -> tuple[RecipeKey, ...]:
    """Keys in the order of the class; a seed inside a recipe follows from the recipe's, so it is not told of."""
    return tuple(
        RecipeKey(
            name=key,
            value="" if (inside := _reference(value)) in titles else _words(value),
            table=titles.get(inside, ""),
            default=REQUIRED if _is_required(key, schema) else _as_written(value.get("default")),
            said=value.get("description", ""),
        )
        for key, value in schema["properties"].items()
        if key not in skip
    )


def _is_required(key: str, schema: dict[str, Any]) -> bool:
    """What its sentence says of leaving it out is filled in when a recipe is read."""
    return key in schema.get("required", ()) and "left out" not in schema["properties"][key].get("description", "")


@final
@dataclass(kw_only=True)
class _Inner:
    """A table inside others, and who holds it under which key."""

    schema: dict[str, Any]
    records: dict[str, Any]
    said: str
    held: list[tuple[str, str]]


def _inner(tops: list[tuple[str, type[Record]]]) -> dict[str, _Inner]:
    """By the names of their records, in the order in which they are met."""
    found: dict[str, _Inner] = {}
    for title, record in tops[1:]:
        schema = record_schema(record)
        _walk(schema, schema.get("$defs", {}), re.sub(r'kind = |\.<name>|["\[\]]', "", title), found)
    return found


def _walk(schema: dict[str, Any], records: dict[str, Any], owner: str, found: dict[str, _Inner]) -> None:
    for key, value in schema["properties"].items():
        name = _reference(value)
        inside = records.get(name, {})
        if "properties" not in inside:
            continue
        if name not in found:
            found[name] = _Inner(schema=inside, records=records, said=inside.get("description", ""), held=[])
        if (owner, key) not in found[name].held:
            found[name].held.append((owner, key))
            _walk(inside, records, key, found)


def _titles(inner: dict[str, _Inner]) -> dict[str, str]:
    """What each is called: by its keys; where two tables share a key, with who holds it."""
    keys = {name: dict.fromkeys(key for _, key in one.held) for name, one in inner.items()}
    titles = {}
    for name, one in inner.items():
        is_shared = any(key in others for other, others in keys.items() if other != name for key in keys[name])
        owners = ", ".join(dict.fromkeys(owner for owner, _ in one.held))
        titles[name] = ", ".join(keys[name]) + (f" of {owners}" if is_shared else "")
    return titles


def _reference(value: dict[str, Any]) -> str:
    """Name of the record that a key holds, alone or in a list."""
    return str(value.get("$ref") or value.get("items", {}).get("$ref", "")).rpartition("/")[2]


def _words(schema: dict[str, Any]) -> str:
    """What a value looks like."""
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(map(_words, alternatives))
    if "const" in schema or "enum" in schema:
        choices = schema.get("enum", [schema.get("const")])
        return ", ".join(json.dumps(one) for one in choices)
    kind = schema.get("type")
    if kind == "array":
        parts = schema.get("prefixItems")
        return f"list of {len(parts)} numbers" if parts else f"list of {_several(_words(schema.get('items', {})))}"
    if kind == "object":
        values = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
        inside = next((one for one in values if isinstance(one, dict)), {})
        return f"table: name = {_words(inside)}"
    if kind in ("integer", "number"):
        return " ".join([str(kind), *_bounds(schema)])
    if kind == "string":
        return "name" if schema.get("pattern") == NAME_PATTERN else "text"
    return "true or false" if kind == "boolean" else "any value"


def _several(word: str) -> str:
    return f"{word}s" if word in ("name", "text", "integer", "number") else word


def _bounds(schema: dict[str, Any]) -> Iterator[str]:
    if (low := schema.get("minimum")) is not None:
        yield f"from {low:g}"
    elif (low := schema.get("exclusiveMinimum")) is not None:
        yield f"above {low:g}"
    if (high := schema.get("maximum")) is not None:
        yield f"to {high:g}"
    elif (high := schema.get("exclusiveMaximum")) is not None and high < _BEYOND:
        yield f"below {high:g}"


def _as_written(value: Any) -> str:
    """A default in TOML; "" for none, and for an empty list or table."""
    if value is None or value in ([], {}, ""):
        return ""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_as_written(one)}' for key, one in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_as_written, value))}]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
