"""The cold-start ledger: every start of a replica, phase by phase."""

from __future__ import annotations

import time
from collections.abc import Sequence

from control_plane.controller.metrics import see_start
from control_plane.controller.start_plan import line
from control_plane.controller.world import World
from control_plane.store.repositories import starts
from control_plane.store.repositories.starts import OpenStart
from control_plane.store.session import Database

_PRUNE_EVERY_S = 3600.0


class StartLedger:
    """Needs no lease: a line follows from rows and reports alone, and whoever closes it is the one
    that counts it."""

    name = "start"

    def __init__(self, database: Database, keep_s: float) -> None:
        self._database = database
        self._keep_s = keep_s
        self._pruned_at_s = float("-inf")

    async def run(self, world: World | None, /) -> int:
        if world is None:
            return 0
        await self._prune()
        async with self._database.snapshot() as session:
            found = await starts.unclosed(session)
        return await self._write(found, world)

    async def _write(self, found: Sequence[OpenStart], world: World) -> int:
        reports = {
            report.replica_id: report
            for heartbeat in world.heartbeats.values()
            for report in heartbeat.replicas
        }
        for start, replica, instance in found:
            wanted = line(start, replica, instance, reports.get(replica.id))
            if not wanted.changes(start):
                continue
            async with self._database.transaction() as session:
                written = await starts.write(session, start.id, dict(wanted.values), wanted.close)
            if written and wanted.close:
                see_start(wanted.values["outcome"], wanted.values["phases_s"])
        # Nothing else waits for what the ledger says: it is no reason for another pass.
        return 0

    async def _prune(self) -> None:
        now_s = time.monotonic()
        if now_s - self._pruned_at_s < _PRUNE_EVERY_S:
            return
        self._pruned_at_s = now_s
        async with self._database.transaction() as session:
            await starts.prune(session, self._keep_s)
