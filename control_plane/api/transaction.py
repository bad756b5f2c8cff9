"""The one place where a request's work is committed: before its answer is sent, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.access import Admin
from control_plane.api.context import Context, CurrentContext
from control_plane.store.clock import read_clock
from control_plane.store.repositories import audit
from infra.connection import REDIS_AWAY
from infra.projection import wait_until_published
from infra.registry import ring_controller
from infra.settings import Settings
from infra.telemetry import logger
from infra.wire import Malformed

_GATEWAYS_LIMIT_S = 3.0

log = logger(__name__)


class Change:
    """A request that changes something: its session, and who asks."""

    def __init__(self, session: AsyncSession, settings: Settings, key_id: str) -> None:
        self.session = session
        self.settings = settings
        self._key_id = key_id
        self.concerns_controller = False
        self.concerns_gateways = False

    async def discard(self) -> None:
        """Take back everything: nothing is written and nobody is told. Say it last."""
        await self.session.rollback()
        self.concerns_controller = self.concerns_gateways = False

    async def record(self, action: str, subject_id: str, **detail: Any) -> None:
        """Write what was done into the audit log; the controller is told after the commit."""
        await audit.record(self.session, self._key_id, action, subject_id, detail)
        self.concerns_controller = True

    def tell_gateways(self) -> None:
        """The answer waits until gateways know: who was told of a key or a name can use it."""
        self.concerns_gateways = True


async def _change(context: CurrentContext, principal: Admin) -> AsyncIterator[Change]:
    async with context.database.transaction() as session:
        change = Change(session, context.settings, principal.key_id)
        yield change
    if change.concerns_controller:
        await ring_controller(context.jobs)
    if change.concerns_gateways:
        await _wait_for_gateways(context)


async def _wait_for_gateways(context: Context) -> None:
    """A while only: the change is committed, and gateways learn of it sooner or later."""
    async with context.database.snapshot() as session:
        committed_ms = int(await read_clock(session) * 1000)
    try:
        if not await wait_until_published(context.jobs, committed_ms, _GATEWAYS_LIMIT_S):
            log.warning("gateways do not know yet: no controller has published the change")
    except (*REDIS_AWAY, Malformed) as error:
        log.warning("gateways do not know yet", error=str(error))


async def _reading(context: CurrentContext) -> AsyncIterator[AsyncSession]:
    async with context.database.snapshot() as session:
        yield session


# "function": the block around the endpoint ends, and commits, before the answer is sent.
CurrentChange = Annotated[Change, Depends(_change, scope="function")]
Reading = Annotated[AsyncSession, Depends(_reading, scope="function")]
