"""The cold-start ledger: every start of a replica, phase by phase."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from control_plane.controller.live import Live, LiveRows
from control_plane.controller.metrics import see_start
from control_plane.controller.start_plan import line
from control_plane.controller.world import World
from control_plane.store.repositories import starts
from control_plane.store.session import Database
from control_plane.store.tables import Start
from infra.wire import ReplicaReport

_PRUNE_EVERY_S = 3600.0


class StartLedger:
    """Needs no lease: a line follows from rows and reports alone, and whoever closes it is the one
    that counts it."""

    name = "start"

    def __init__(self, database: Database, live: LiveRows, keep_s: float) -> None:
        self._database = database
        self._live = live
        self._keep_s = keep_s
        self._pruned_at_s = float("-inf")

    async def run(self, world: World | None, /) -> int:
        if world is None:
            return 0
        await self._prune()
        live = await self._live.read()
        async with self._database.snapshot() as session:
            unclosed = await starts.unclosed(session)
        reports = world.reports
        await self._write(list(_changed(unclosed, live, reports)), reports)
        # Nothing else waits for what the ledger says: it is no reason for another pass.
        return 0

    async def _write(self, start_ids: Sequence[str], reports: Mapping[str, ReplicaReport]) -> None:
        if not start_ids:
            return
        closed = []
        async with self._database.transaction() as session:
            # What made them change was read before the lines were: now they are read together.
            for start, replica, instance in await starts.open_ones(session, start_ids):
                wanted = line(start, replica, instance, reports.get(replica.id))
                written = wanted.changes(start) and await starts.write(
                    session, start.id, dict(wanted.values), wanted.close
                )
                if written and wanted.close:
                    closed.append(wanted.values)
        for values in closed:
            see_start(values["outcome"], values["phases_s"])

    async def _prune(self) -> None:
        now_s = time.monotonic()
        if now_s - self._pruned_at_s < _PRUNE_EVERY_S:
            return
        self._pruned_at_s = now_s
        async with self._database.transaction() as session:
            await starts.prune(session, self._keep_s)


def _changed(
    unclosed: Sequence[Start], live: Live, reports: Mapping[str, ReplicaReport]
) -> Iterator[str]:
    """Lines that say something else than what was read, and those whose replica has ended."""
    for start in unclosed:
        replica = live.replicas.get(start.replica_id)
        if replica is None:
            yield start.id
            continue
        instance = live.instances.get(replica.instance_id or "")
        if line(start, replica, instance, reports.get(replica.id)).changes(start):
            yield start.id
