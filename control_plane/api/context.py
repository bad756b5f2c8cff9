"""What every request of one process shares."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from control_plane.api.health.changes import ReadinessChanges
from control_plane.store.session import Database
from infra.connection import RedisClient, connect
from infra.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    settings: Settings
    database: Database
    jobs: RedisClient
    tokens: RedisClient
    readiness: ReadinessChanges = field(default_factory=ReadinessChanges)


@asynccontextmanager
async def open_context(settings: Settings) -> AsyncIterator[Context]:
    database = Database(settings)
    jobs, tokens = connect(settings.jobs), connect(settings.tokens)
    try:
        yield Context(settings, database, jobs, tokens)
    finally:
        await jobs.aclose()
        await tokens.aclose()
        await database.close()


async def _context(request: Request) -> Context:
    return cast(Context, request.app.state.context)


CurrentContext = Annotated[Context, Depends(_context)]
