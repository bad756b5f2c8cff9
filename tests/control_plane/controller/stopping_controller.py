"""`python -m` this: a controller that stops for ever as soon as it holds an instance.

It says so with the id of the row, and waits for SIGKILL: it has the lease and wrote nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.controller.loop import Controller
from control_plane.store import leases
from control_plane.store.leases import LeasedTable
from control_plane.store.session import Database
from control_plane.store.tables import Instance
from infra.connection import connect
from infra.settings import Settings
from tests.control_plane.controller.mailbox import Mailbox
from tests.control_plane.controller.memory_cloud import MemoryCloud

HOLDS = "this process holds "

_take = leases.take
_held: list[str] = []


async def _note_and_take(
    session: AsyncSession, table: LeasedTable, row_id: str, ttl_s: float
) -> str | None:
    token = await _take(session, table, row_id, ttl_s)
    if token is not None and table is Instance:
        _held.append(row_id)
    return token


class StoppingDatabase(Database):
    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncSession]:
        if _held:
            print(f"{HOLDS}{_held[0]}", flush=True)  # noqa: T201
            await asyncio.Event().wait()
        async with super().snapshot() as session:
            yield session


async def main(settings: Settings) -> None:
    leases.take = _note_and_take
    jobs = connect(settings.jobs)
    controller = Controller(settings, StoppingDatabase(settings), jobs, MemoryCloud(), Mailbox())  # type: ignore[arg-type]
    await controller.run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(Settings()))
