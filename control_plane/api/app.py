"""The application: every route, what guards it, and what it needs while it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends, FastAPI

from control_plane.api import failures
from control_plane.api.access import require_admin
from control_plane.api.audit.endpoints import router as audit
from control_plane.api.budgets.endpoints import router as budgets
from control_plane.api.context import open_context
from control_plane.api.costs.endpoints import router as costs
from control_plane.api.dead_letters.endpoints import router as dead_letters
from control_plane.api.deployments.endpoints import router as deployments
from control_plane.api.deployments.override import router as overrides
from control_plane.api.health.endpoints import router as health
from control_plane.api.instances.endpoints import join_router
from control_plane.api.instances.endpoints import router as instances
from control_plane.api.keys.endpoints import router as keys
from control_plane.api.keys.service import ensure_first_key
from control_plane.api.machines.endpoints import router as machines
from control_plane.api.model_files.endpoints import router as model_files
from control_plane.api.models.endpoints import router as models
from control_plane.api.operations.endpoints import router as operations
from control_plane.api.problem import problem_schema
from control_plane.api.replicas.endpoints import router as replicas
from control_plane.api.rollouts.endpoints import router as rollouts
from control_plane.api.status.endpoints import router as status
from control_plane.http import exposition
from control_plane.http.body_limit import BodyLimit
from control_plane.http.metrics import Measured
from control_plane.http.request_id import RequestId
from control_plane.http.unexpected import Unexpected
from control_plane.store.migrations.upgrade import upgrade
from infra.settings import Settings

_PREFIX = "/api/v1"
_PROBLEM = {
    "description": "RFC 9457 problem",
    "content": {"application/problem+json": {"schema": problem_schema()}},
}


def build_api(settings: Settings) -> FastAPI:
    """The API of these settings. Its lifespan migrates the store and makes the first admin key."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await upgrade(settings)
        async with open_context(settings) as context:
            await ensure_first_key(context.database, settings.admin_key.get_secret_value())
            app.state.context = context
            yield

    app = FastAPI(
        title="Tamer",
        lifespan=lifespan,
        openapi_url=None,  # served below, behind a key
        docs_url=None,
        redoc_url=None,
        responses={"4XX": _PROBLEM, "5XX": _PROBLEM},
    )
    app.include_router(health)
    app.include_router(exposition.router, dependencies=[Depends(require_admin)])
    app.include_router(join_router, prefix=_PREFIX)
    app.include_router(model_files, prefix=_PREFIX)
    app.include_router(_guarded(app), prefix=_PREFIX)
    failures.install(app)
    app.add_middleware(
        BodyLimit,
        max_bytes=settings.max_body_bytes,
        limit_s=settings.receive_limit_s,
        refuse=failures.refuse_large_body,
        refuse_late=failures.refuse_late_body,
    )
    app.add_middleware(Unexpected, answer=failures.answer_unexpected)
    app.add_middleware(Measured)
    app.add_middleware(RequestId)
    return app


def _guarded(app: FastAPI) -> APIRouter:
    """All routes that take an admin key: a router that is put in here cannot forget it."""
    guarded = APIRouter(dependencies=[Depends(require_admin)])
    routers = (
        status,
        deployments,
        overrides,
        rollouts,
        models,
        operations,
        replicas,
        instances,
        machines,
        keys,
        audit,
        dead_letters,
        costs,
        budgets,
    )
    for router in routers:
        guarded.include_router(router)

    @guarded.get("/openapi.json", include_in_schema=False)
    async def openapi() -> dict[str, Any]:
        return app.openapi()

    return guarded
