"""The gateway as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from control_plane.gateway import completions, health, models, openapi
from control_plane.gateway.access import authenticate_admin
from control_plane.gateway.durable import endpoints as durable
from control_plane.gateway.errors import (
    ApiError,
    answer_api_error,
    answer_invalid,
    answer_unexpected,
    answer_unknown_route,
    refuse_too_large,
    refuse_too_late,
)
from control_plane.gateway.services import Services
from control_plane.http import exposition
from control_plane.http.body_limit import BodyLimit
from control_plane.http.metrics import Measured
from control_plane.http.request_id import RequestId
from control_plane.http.traced import Traced
from control_plane.http.unexpected import Unexpected
from infra.settings import Settings


def build_gateway(settings: Settings) -> FastAPI:
    """An application with its own lifespan; whoever mounts it must run that."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services = Services(settings)
        app.state.gateway = services
        try:
            await services.start()
            yield
        finally:
            await services.stop()

    app = FastAPI(
        title="Tamer gateway",
        lifespan=lifespan,
        openapi_url=None,  # served by openapi.py, behind a key
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=openapi.ERRORS,
        middleware=[
            Middleware(RequestId),
            Middleware(Measured),
            Middleware(Traced),
            Middleware(Unexpected, answer=answer_unexpected),
            Middleware(
                BodyLimit,
                max_bytes=settings.max_body_bytes,
                limit_s=settings.receive_limit_s,
                refuse=refuse_too_large,
                refuse_late=refuse_too_late,
            ),
        ],
        exception_handlers={
            ApiError: answer_api_error,
            HTTPException: answer_unknown_route,
            RequestValidationError: answer_invalid,
        },
    )
    app.include_router(health.router)
    app.include_router(exposition.router, dependencies=[Depends(authenticate_admin)])
    app.include_router(models.router)
    app.include_router(completions.router)
    app.include_router(durable.router)
    app.include_router(openapi.router)
    return app


def end_requests(app: FastAPI) -> None:
    """Answer every request under way that this gateway is being stopped."""
    services: Services = app.state.gateway
    services.end_requests()
