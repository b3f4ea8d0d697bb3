"""JSON Schema of a recipe file, for editors: every table and key, with what its docstring says of it.

In: the records of a recipe and the kinds of steps that are known. Out: a JSON value (draft 2020-12). It is of the file
as it is written: ``extends``, ``[defaults.<kind>]``, ``from``; no nulls, which TOML does not have. What depends on
several keys at once is told by ``spiritsafe plan``, not here.
"""

from __future__ import annotations

import inspect
import re
from copy import deepcopy
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from spiritsafe.core.canonical import JSON
from spiritsafe.core.records import Record
from spiritsafe.pipeline.recipe.kinds import kind_names
from spiritsafe.pipeline.recipe.schema import Recipe

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ATTRIBUTE = re.compile(r"    (\w+): (.*)")
_INSIDE = ("items", "additionalProperties")
_WHOLE_STEP = ("kind", "name")
_EXTENDS = "A packaged recipe or the path of another: its tables lie under this one's, its lists are replaced whole."
_DEFAULTS = "Settings of all steps of a kind, laid under each of them."


def recipe_schema() -> dict[str, JSON]:
    """JSON Schema of a recipe file."""
    whole = record_schema(Recipe)
    records = whole["$defs"]
    entries = {_name_of(one) for key in whole["properties"].values() for one in _alternatives(key.get("items", {}))}
    for name, record in records.items():
        if name not in entries:  # such a table may say a part, and lie over another
            record.pop("required", None)
        elif "kind" in record["properties"]:
            record["required"] = list(_WHOLE_STEP)
    whole["properties"] |= {
        "extends": {"type": "string", "description": _EXTENDS},
        "defaults": {
            "type": "object",
            "description": _DEFAULTS,
            "properties": {kind: _under(records[step.__name__]) for kind, step in sorted(kind_names().items())},
            "additionalProperties": False,
        },
    }
    whole.pop("required", None)
    whole["anyOf"] = [{"required": ["name"]}, {"required": ["extends"]}]
    return {"$schema": DIALECT, "title": "spiritsafe recipe", **whole}


def record_schema(record: type[Record]) -> dict[str, Any]:
    """JSON Schema of one table, with docstrings as descriptions; tables inside it are under ``$defs``."""
    schema = record.model_json_schema(schema_generator=_Described)
    return _as_toml(schema, schema.get("$defs", {}))


def purpose_of(record: type[Record]) -> str:
    """The first paragraph of a class's docstring, or of the nearest base that has one."""
    text = inspect.getdoc(record) or ""
    return _plain(text.partition("\n\n")[0])


def sentences_of(record: type[Record]) -> dict[str, str]:
    """What docstrings say of a class's keys: its own first, then those of its bases."""
    found: dict[str, str] = {}
    for base in record.__mro__:
        if not issubclass(base, Record):
            break
        for name, said in _attributes(base.__dict__.get("__doc__") or "").items():
            found.setdefault(name, said)
    return found


def _attributes(docstring: str) -> dict[str, str]:
    """The section ``Attributes:`` of a docstring."""
    _, _, section = f"\n{inspect.cleandoc(docstring)}".partition("\nAttributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line and not line.startswith("    "):
            break
        if start := _ATTRIBUTE.fullmatch(line):
            name = start[1]
            found[name] = start[2]
        elif name:
            found[name] += f" {line.strip()}"
    return {name: _plain(said) for name, said in found.items()}


def _plain(text: str) -> str:
    """In one line, in Markdown; what is None in a program is left out in a recipe."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`").replace("None:", "left out:")
    return " ".join(text.split())


class _Described(GenerateJsonSchema):
    """Descriptions from docstrings, where they are written for readers of the code as well."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Of one record."""
        found = super().model_schema(schema)
        record = schema["cls"]
        found["description"] = purpose_of(record)
        said = sentences_of(record)
        by_key = {field.alias or name: name for name, field in record.model_fields.items()}
        for key, value in found.get("properties", {}).items():
            if key == "kind":
                value["description"] = found["description"]
            elif sentence := said.get(key) or said.get(by_key[key]):
                value["description"] = sentence
        return found


def _as_toml(schema: dict[str, Any], records: dict[str, Any]) -> dict[str, Any]:
    """Without nulls and titles; a record's default says what differs from the record's own defaults."""
    left = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(left) == 1:
        schema = {**left[0], **{key: value for key, value in schema.items() if key != "anyOf"}}
    elif left:
        schema = {**schema, "anyOf": left}
    record, default = records.get(_name_of(schema)), schema.get("default")
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "title" or (key == "default" and default is None):
            continue
        if key == "default" and record is not None:
            found[key] = _changed(value, record)
        elif key in ("properties", "patternProperties", "$defs"):
            found[key] = {name: _as_toml(one, records) for name, one in value.items()}
        elif key in ("anyOf", "oneOf", "prefixItems"):
            found[key] = [_as_toml(one, records) for one in value]
        else:
            found[key] = _as_toml(value, records) if isinstance(value, dict) and key in _INSIDE else value
    if "patternProperties" in found:
        found.setdefault("additionalProperties", False)
    return found


def _changed(default: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    own = {key: schema.get("default") for key, schema in record["properties"].items()}
    return {key: value for key, value in default.items() if value is not None and value != own.get(key)}


def _under(step: dict[str, Any]) -> dict[str, Any]:
    """What may be laid under a step of a kind: all but what makes it this one."""
    properties = {key: deepcopy(value) for key, value in step["properties"].items() if key not in _WHOLE_STEP}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _alternatives(schema: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = schema.get("oneOf", [schema])
    return found


def _name_of(schema: dict[str, Any]) -> str:
    """Of the record that a schema refers to; "" for none."""
    return str(schema.get("$ref", "")).rpartition("/")[2]
