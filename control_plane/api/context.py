"""What every request of one process shares."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.requests import Request

from control_plane.store.session import Database
from infra.connection import connect
from infra.registry import ring_controller
from infra.settings import Settings
from infra.telemetry import logger

_log = logger("api")


@dataclass(frozen=True, slots=True)
class Context:
    settings: Settings
    database: Database
    jobs: Redis
    tokens: Redis

    async def ring(self) -> None:
        """Tell the controller that there is news. It looks by itself soon, so failing is fine."""
        try:
            await ring_controller(self.jobs)
        except (RedisError, OSError) as error:
            _log.warning("bell_not_rung", error=str(error))


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


def _context(request: Request) -> Context:
    return cast(Context, request.app.state.context)


CurrentContext = Annotated[Context, Depends(_context)]
