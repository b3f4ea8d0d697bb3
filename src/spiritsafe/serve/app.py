"""The server's application: every interface at its path, the list of models, health, OpenAPI, and the page.

In: models by name, and hooks. Out: an aiohttp application. ``spiritsafe serve`` runs it; so does any program that
brings engines of its own.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cache
from typing import Any, final

import orjson
from aiohttp import web

from spiritsafe.core.errors import SpiritsafeError
from spiritsafe.serve.hooks import Deployment, Hooks
from spiritsafe.serve.http.endpoint import REQUEST_ID, Endpoint, ServerLimits, defect
from spiritsafe.serve.http.listing import ModelListing
from spiritsafe.serve.http.openapi import openapi_document
from spiritsafe.serve.http.registry import interfaces
from spiritsafe.serve.interface import Interface
from spiritsafe.serve.page.files import page_routes
from spiritsafe.serve.refusals import Refusal, refusal_of_error

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(
    models: Mapping[str, Deployment],
    *,
    hooks: Hooks | None = None,
    limits: ServerLimits | None = None,
    routes: Iterable[web.AbstractRouteDef] = (),
) -> web.Application:
    """The application.

    Args:
        models: By the names that requests use; looked up at each request, so that it may change.
        routes: More paths, such as ``/metrics``.
    """
    hooks, limits = hooks or Hooks(), limits or ServerLimits()
    every = interfaces()
    app = web.Application(client_max_size=limits.body_bytes, middlewares=[_boundary(every)])
    for interface in every:
        app.router.add_post(interface.path, Endpoint(interface, models, hooks, limits).handle)
    listing = ModelListing(models, hooks)
    app.router.add_get("/v1/models", listing.all)
    app.router.add_get("/v1/models/{model:.+}", listing.one)
    app.router.add_get("/health", _Health(hooks).show)
    app.router.add_get("/openapi.json", _fixed(_document()))
    app.router.add_routes(page_routes())
    app.router.add_routes(routes)
    app.on_response_prepare.append(_sign)
    return app


def make_app_runner(app: web.Application, *, shutdown_s: float = 60.0) -> web.AppRunner:
    """A runner under which a client that goes away cancels its request, streamed or not.

    Args:
        shutdown_s: How long requests under way may go on when the runner is cleaned up.
    """
    return web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=shutdown_s)


@final
class _Health:
    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    async def show(self, request: web.Request) -> web.Response:
        unready = self._hooks.readiness.unready()
        if unready is None:
            return web.json_response({"status": "ok"})
        return web.json_response({"status": "unready", "reason": unready}, status=503)


@cache
def _document() -> bytes:
    """The same for every application; making it costs more than all else that an application needs."""
    return orjson.dumps(openapi_document(interfaces()))


def _fixed(body: bytes) -> _Handler:
    async def show(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    return show


async def _sign(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["x-request-id"] = request[REQUEST_ID]
    response.headers["request-id"] = request[REQUEST_ID]  # where Anthropic's clients look


def _boundary(every: Iterable[Interface]) -> Any:
    """The middleware that gives every answer an id, and every error the body that its interface's clients expect."""
    of_path = {interface.path: interface for interface in every}
    default = of_path["/v1/chat/completions"]

    @web.middleware
    async def boundary(request: web.Request, handler: _Handler) -> web.StreamResponse:
        given = request.headers.get("x-request-id", "")
        request[REQUEST_ID] = given if _SANE_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        try:
            return await handler(request)
        except web.HTTPException as error:
            refusal = _refusal_of_http(error, request)
        except SpiritsafeError as error:
            refusal = refusal_of_error(error)
        except Exception:  # noqa: BLE001  the server's boundary: one request fails, the others do not
            refusal = defect(request)
        body = of_path.get(request.path, default).failure(refusal, request[REQUEST_ID])
        return web.Response(
            body=orjson.dumps(body),
            status=refusal.status,
            content_type="application/json",
            headers=refusal.headers,
        )

    return boundary


def _refusal_of_http(error: web.HTTPException, request: web.Request) -> Refusal:
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return Refusal(
            f"{request.method} is not answered at {request.path[:120]}.",
            hint=f"Use {allowed}.",
            status=405,
            code="method_not_allowed",
            headers={"Allow": allowed},
        )
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return Refusal(
            "The body is too large.",
            hint=f"At most {request.client_max_size} bytes are read.",
            status=413,
            code="request_too_large",
        )
    if isinstance(error, web.HTTPNotFound):
        return Refusal(
            f"There is nothing at {request.path[:120]!r}.",
            hint="/openapi.json lists what there is.",
            status=404,
            code="not_found",
        )
    return Refusal(error.reason, hint="Change the request.", status=error.status, code="invalid_request")
