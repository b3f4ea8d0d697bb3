"""Nothing that is asked for is ignored in silence: every property that the OpenAPI document allows, one by one.

A property with a value that differs from its default changes the job that an engine gets, or the answer, or is refused
with 400, or is named in the header ``spiritsafe-ignored``. The values are in ``asked_<interface>.py`` of the support
folder; a property without a row there fails.
"""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
from served_app import Reply, serving
from served_engine import FakeEngine, says

from spiritsafe.core.serving import Job
from spiritsafe.serve.http.openapi import openapi_document
from spiritsafe.serve.http.registry import interfaces

DOCUMENT = openapi_document(interfaces())
VALUES = {
    str(interface.path): importlib.import_module(f"asked_{type(interface).__module__.rsplit('.', 1)[1]}")
    for interface in interfaces()
}


def properties(schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Every property, those of objects inside by dotted names; objects that may hold anything are one."""
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from properties(option, prefix)
    if "items" in schema:
        yield from properties(schema["items"], prefix)
    for name, inside in schema.get("properties", {}).items():
        yield f"{prefix}{name}"
        yield from properties(inside, f"{prefix}{name}.")


CASES = sorted(
    {
        (path, name)
        for path in VALUES
        for name in properties(
            DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"],
        )
    }
)


def asked(path: str, fields: dict[str, Any]) -> tuple[list[Job], Reply]:
    engine = FakeEngine(says("Hello", " there", thought=("so",)))

    async def scenario() -> Reply:
        async with serving(engine) as server:
            return await server.post(path, VALUES[path].BODY | fields, {"x-request-id": "same"})

    return engine.jobs, asyncio.run(scenario())


def told(reply: Reply) -> tuple[bytes, ...]:
    """What an answer says, but for when."""
    heads = (reply.headers.get(name, "").encode() for name in ("spiritsafe-seed", "Content-Type"))
    return re.sub(rb'"(created|created_at|completed_at)":[0-9.]+', b"", reply.raw), *heads


@pytest.mark.parametrize(("path", "name"), CASES)
def test_no_property_is_ignored_in_silence(path: str, name: str) -> None:
    fields, without = VALUES[path].ROWS[name]
    jobs, reply = asked(path, fields)
    if reply.status in (400, 404):
        return
    assert reply.status == 200, reply.raw
    other_jobs, other = asked(path, without)
    assert other.status == 200, other.raw
    ignored = reply.headers.get("spiritsafe-ignored", "").split(", ")
    assert jobs != other_jobs or told(reply) != told(other) or name in ignored


def test_no_row_is_of_a_property_that_is_gone() -> None:
    assert {(path, name) for path, values in VALUES.items() for name in values.ROWS} == set(CASES)
