"""The host daemon's HTTP interface.

    POST   /instances          LaunchRequest -> CloudInstance
    GET    /instances          -> [CloudInstance]
    DELETE /instances/{id}     -> 202
    GET    /livez              -> 200

A refusal is {"error": ..., "retryable": ...} with status 409 (not retryable) or 503.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.cloud.base import CloudError, LaunchRequest
from infra.cloud.local.host import Host


def build_app(host: Host, shutdown_limit_s: float, on_close: Callable[[], None]) -> Starlette:
    """The daemon's application; when it shuts down, so do the instances, and `on_close` runs."""

    async def launch(request: Request) -> Response:
        try:
            asked = msgspec.json.decode(await request.body(), type=LaunchRequest)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise CloudError(f"not a launch request: {error}", retryable=False) from error
        return _json(host.launch(asked))

    async def describe(request: Request) -> Response:  # noqa: ARG001
        return _json(host.describe())

    async def terminate(request: Request) -> Response:
        host.terminate(request.path_params["instance_id"])
        return Response(status_code=202)

    async def livez(request: Request) -> Response:  # noqa: ARG001
        return _json({"status": "ok"})

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        try:
            yield
        finally:
            await host.close(shutdown_limit_s)
            on_close()

    return Starlette(
        routes=[
            Route("/instances", launch, methods=["POST"]),
            Route("/instances", describe, methods=["GET"]),
            Route("/instances/{instance_id}", terminate, methods=["DELETE"]),
            Route("/livez", livez, methods=["GET"]),
        ],
        exception_handlers={CloudError: _refuse},
        lifespan=lifespan,
    )


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


async def _refuse(request: Request, error: Exception) -> Response:  # noqa: ARG001
    assert isinstance(error, CloudError)
    body = {"error": str(error), "retryable": error.retryable}
    return _json(body, 503 if error.retryable else 409)
