"""The OpenAPI document of the server, made of the pydantic models of its interfaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from pydantic import TypeAdapter

from spiritsafe.serve.interface import Interface

_REF = "#/components/schemas/{model}"
_EVENT = {
    "description": "Each event; its data is JSON, or [DONE] at the end.",
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}
_STATUSES = {
    "400": "The request cannot be honoured; `param` names the field.",
    "401": "No key, or one that is not known.",
    "404": "No such model.",
    "408": "The body did not arrive.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "429": "A limit is reached; `Retry-After` says when to ask again.",
    "500": "The model or the server failed.",
    "503": "The server takes no requests now.",
}


def openapi_document(interfaces: Iterable[Interface]) -> dict[str, Any]:
    """OpenAPI 3.1: every path, the bodies it takes, and what it answers."""
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for interface in interfaces:
        paths[interface.path] = {"post": _operation(interface, schemas)}
    paths |= _plain_paths()
    return {
        "openapi": "3.1.0",
        "info": {"title": "spiritsafe", "version": version("spiritsafe")},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(interface: Interface, schemas: dict[str, Any]) -> dict[str, Any]:
    ignored = [f"`{name}` is ignored: {why}" for name, why in interface.request.ignored.items()]
    refused = [f"`{name}` is refused: {hint}" for name, hint in interface.request.refused.items()]
    answer = {
        "description": "The answer.",
        "content": {
            "application/json": {"schema": _schema(interface.answer, schemas)},
            "text/event-stream": {"schema": _EVENT},
        },
    }
    return {
        "operationId": interface.path.removeprefix("/v1/").replace("/", "_"),
        "summary": interface.summary,
        "description": "\n\n".join([*ignored, *refused]),
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _schema(interface.request, schemas)}},
        },
        "responses": {"200": answer, **_errors()},
    }


def _schema(model: Any, schemas: dict[str, Any]) -> Mapping[str, Any]:
    made = TypeAdapter(model).json_schema(ref_template=_REF)
    schemas.update(made.pop("$defs", {}))
    if "$ref" in made:
        return made
    name = str(made.get("title", model.__name__))
    schemas[name] = made
    return {"$ref": _REF.format(model=name)}


def _errors(statuses: Iterable[str] = tuple(_STATUSES)) -> dict[str, Any]:
    return {
        status: {"description": _STATUSES[status], "content": {"application/json": {"schema": {"type": "object"}}}}
        for status in statuses
    }


def _plain_paths() -> dict[str, Any]:
    json_object = {"content": {"application/json": {"schema": {"type": "object"}}}}
    name = {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    return {
        "/v1/models": {
            "get": {
                "operationId": "models",
                "summary": "The models that there are.",
                "responses": {"200": {"description": "A list.", **json_object}, **_errors(("401", "500"))},
            }
        },
        "/v1/models/{model}": {
            "get": {
                "operationId": "model",
                "summary": "One model, with the digest of its bytes.",
                "parameters": [name],
                "responses": {"200": {"description": "A model.", **json_object}, **_errors(("401", "404", "500"))},
            }
        },
        "/health": {
            "get": {
                "operationId": "health",
                "summary": "Whether requests are welcome.",
                "responses": {
                    "200": {"description": "They are.", **json_object},
                    "503": {"description": "They are not.", **json_object},
                },
            }
        },
    }
