"""Whatever the document allows, and whatever it forbids, is asked of the server by a program that reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.errors import InvalidSchema
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from served_app import Reply, serving, serving_in_thread
from served_engine import FakeEngine

from spiritsafe.serve.http.openapi import openapi_document
from spiritsafe.serve.http.registry import interfaces

OPERATIONS = sorted(interface.path for interface in interfaces())


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving_in_thread(FakeEngine()) as found:
        yield found


def document() -> dict[str, Any]:
    """The document, where the one model that there is stands for any name: others are refused at once."""
    made = openapi_document(interfaces())
    for schema in made["components"]["schemas"].values():
        if "model" in schema.get("properties", {}) and "stream" in schema["properties"]:
            schema["properties"]["model"] = {"const": "fake"}
    return made


@pytest.mark.slow
@pytest.mark.parametrize("path", OPERATIONS)
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_fuzz(path: str, mode: GenerationMode, address: str) -> None:
    operation = schemathesis.openapi.from_dict(document())[path]["POST"]
    checks = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
    if mode is GenerationMode.NEGATIVE:
        checks.append(negative_data_rejection)

    @settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        try:
            case = data.draw(operation.as_strategy(generation_mode=mode))
        except InvalidSchema:  # the fuzzer broke the schema in a way that nothing fits
            reject()
        case.call_and_validate(base_url=address, checks=checks)

    check()


def test_the_document_is_served_and_names_every_path() -> None:
    async def scenario() -> Reply:
        async with serving(FakeEngine()) as server:
            return await server.get("/openapi.json")

    served = asyncio.run(scenario()).json
    assert served == openapi_document(interfaces())
    assert set(served["paths"]) == {*OPERATIONS, "/health", "/v1/models", "/v1/models/{model}"}
    assert "is refused: Use tools." in served["paths"]["/v1/chat/completions"]["post"]["description"]
