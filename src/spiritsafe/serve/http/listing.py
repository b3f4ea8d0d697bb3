"""The list of models: in one form that clients of OpenAI's interface and of Anthropic's both read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, final

import orjson
from aiohttp import web

from spiritsafe.serve.hooks import Deployment, Hooks
from spiritsafe.serve.http.endpoint import DIGEST_HEADER, deployment_of


@final
class ModelListing:
    """Answers ``/v1/models``."""

    def __init__(self, models: Mapping[str, Deployment], hooks: Hooks) -> None:
        self._models = models
        self._hooks = hooks

    async def all(self, request: web.Request) -> web.Response:
        """Every model that there is for the caller, by name."""
        caller = await self._hooks.authoriser.authorise(request)
        names = sorted(filter(caller.sees, self._models))
        entries = [self._entry(name, self._models[name]) for name in names]
        body = {
            "object": "list",
            "data": entries,
            "has_more": False,
            "first_id": names[0] if names else None,
            "last_id": names[-1] if names else None,
        }
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    async def one(self, request: web.Request) -> web.Response:
        """One model."""
        caller = await self._hooks.authoriser.authorise(request)
        name = request.match_info["model"]
        deployment = deployment_of(name, self._models, caller)
        model = deployment.model
        return web.Response(
            body=orjson.dumps(self._entry(name, deployment)),
            content_type="application/json",
            headers={DIGEST_HEADER: model.digest, **self._hooks.facts.headers(model)},
        )

    def _entry(self, name: str, deployment: Deployment) -> dict[str, Any]:
        model = deployment.model
        return {
            "id": name,
            "object": "model",
            "type": "model",
            "display_name": name,
            "created": deployment.created,
            "created_at": datetime.fromtimestamp(deployment.created, UTC).isoformat().replace("+00:00", "Z"),
            "owned_by": "spiritsafe",
            "lifecycle": "active",
            "max_input_tokens": model.context,
            "spiritsafe": {
                "digest": model.digest,
                "kind": model.kind,
                "context": model.context,
                "tools": model.shows_tools,
                "thinks": model.thinks,
                "switches_thinking": model.switches_thinking,
                "platform": model.platform,
                "memory_bytes": model.memory_bytes,
                "notes": list(model.notes),
                **self._hooks.facts.facts(model),
                **deployment.facts,
            },
        }
