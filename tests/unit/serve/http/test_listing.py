from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import web
from anthropic.types import ModelInfo
from openai.types import Model
from pydantic import BaseModel, JsonValue
from served_app import Reply, serving
from served_engine import DIGEST, FakeEngine, served_model

from spiritsafe.core.serving import ServedModel
from spiritsafe.serve import Caller, Hooks, Refusal


class Certificates:
    def headers(self, model: ServedModel) -> Mapping[str, str]:
        return {"spiritsafe-certificate": f"of {model.name}"}

    def facts(self, model: ServedModel) -> Mapping[str, JsonValue]:
        return {"certificate": {"score": 0.5}}


class Nobody:
    async def authorise(self, request: web.Request) -> Caller:
        raise Refusal("No key.", hint="Send one.", status=401)


def ask(*paths: str, hooks: Hooks | None = None) -> list[Reply]:
    async def scenario() -> list[Reply]:
        nested = FakeEngine(model=served_model("org/small:q4"))
        async with serving(FakeEngine(), nested, hooks=hooks) as server:
            return [await server.get(f"/v1/models{path}") for path in paths]

    return asyncio.run(scenario())


def of_type(model: type[BaseModel], entry: dict[str, object]) -> BaseModel:
    return model.model_validate({name: value for name, value in entry.items() if name in model.model_fields})


def test_models_are_listed_with_the_digest_of_their_bytes() -> None:
    every, one, nobody = ask("", "/org/small:q4", "/nobody")
    entries = every.json["data"]
    assert [entry["id"] for entry in entries] == ["fake", "org/small:q4"]
    assert {entry["spiritsafe"]["digest"] for entry in entries} == {DIGEST}
    for entry in entries:
        of_type(Model, entry)
        of_type(ModelInfo, entry)
    assert one.json == entries[1]
    assert one.headers["spiritsafe-model-digest"] == DIGEST
    assert (nobody.status, nobody.error["code"]) == (404, "model_not_found")


def test_certificates_stand_beside_and_keys_are_asked_for() -> None:
    every, one = ask("", "/fake", hooks=Hooks(facts=Certificates()))
    assert every.json["data"][0]["spiritsafe"]["certificate"] == {"score": 0.5}
    assert one.headers["spiritsafe-certificate"] == "of fake"
    assert [reply.status for reply in ask("", "/fake", hooks=Hooks(authoriser=Nobody()))] == [401, 401]
