"""`python -m control_plane.serve`: the REST API and the gateway of one machine on one port.

`/api/*` is the API's; everything else is the gateway's; `/livez` and `/readyz` speak for both, and
`/` says what is served here. In the cloud each runs on its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.api.app import build_api
from control_plane.gateway.app import build_gateway, end_requests
from control_plane.http.server import serve
from infra.build import build_name
from infra.metrics.port import start_metrics
from infra.process_settings import process_settings
from infra.telemetry import configure_logging
from infra.tracing.setup import start_tracing

_SHUTDOWN_LIMIT_S = 5.0


def join_applications(api: FastAPI, gateway: FastAPI) -> Starlette:
    """Both applications behind one port; their lifespans run inside its own."""
    parts = {"api": api, "gateway": gateway}

    async def health(request: Request) -> Response:
        answers = await asyncio.gather(*(_ask(part, request) for part in parts.values()))
        status = max(status for status, _ in answers)
        said = {name: body for name, (_, body) in zip(parts, answers, strict=True)}
        return Response(msgspec.json.encode(said), status, media_type="application/json")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:  # noqa: ARG001
        state: dict[str, Any] = {}
        async with AsyncExitStack() as stack:
            for part in parts.values():
                theirs = await stack.enter_async_context(part.router.lifespan_context(part))
                state.update(theirs or {})
            yield state

    return Starlette(
        routes=[
            Route("/", _about, methods=["GET"]),
            Route("/livez", health, methods=["GET"]),
            Route("/readyz", health, methods=["GET"]),
            Mount("/", app=_by_path(api, gateway)),
        ],
        lifespan=lifespan,
    )


async def _about(_: Request) -> Response:
    """Where to go on, for whoever opens the address as it was printed; it needs no key."""
    return JSONResponse(
        {
            "name": "tamer",
            "version": build_name(),
            "models": "/v1/models",
            "openapi": "/api/v1/openapi.json",
        }
    )


def _by_path(api: ASGIApp, gateway: ASGIApp) -> ASGIApp:
    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        part = api if path == "/api" or path.startswith("/api/") else gateway
        await part(scope, receive, send)

    return dispatch


async def _ask(part: ASGIApp, request: Request) -> tuple[int, Any]:
    """One application's own answer to the request: status and JSON body (or text)."""
    status = 500
    body = bytearray()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            body.extend(message.get("body", b""))

    scope = {**request.scope, "state": dict(request.scope.get("state", {}))}
    for ours in ("app", "router", "endpoint", "route", "path_params", "root_path", "app_root_path"):
        scope.pop(ours, None)
    await part(scope, receive, send)
    try:
        return status, msgspec.json.decode(bytes(body))
    except msgspec.DecodeError:
        return status, body.decode("utf-8", "replace")


def main() -> None:
    settings = process_settings()
    configure_logging("serve", settings.log_level)
    start_metrics(settings, "serve")
    start_tracing("serve", settings)
    gateway = build_gateway(settings)
    app = join_applications(build_api(settings), gateway)
    serve(app, settings, _SHUTDOWN_LIMIT_S, lambda: end_requests(gateway))


if __name__ == "__main__":
    main()
