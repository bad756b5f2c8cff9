"""Promise 8: a machine that runs without a row that wants it is terminated."""

from __future__ import annotations

from control_plane.controller.limits import Limits
from control_plane.controller.live import LiveRows
from control_plane.controller.world import World
from control_plane.store.clock import read_clock
from control_plane.store.repositories import instances, operations
from control_plane.store.session import Database
from infra.cloud.base import CloudInstance, CloudInstanceState
from infra.states import InstanceState
from infra.telemetry import logger

_ALIVE = (CloudInstanceState.PENDING, CloudInstanceState.RUNNING)

log = logger(__name__)


class LeakAudit:
    """The other direction, rows that the cloud does not know, is the instance reconciler's."""

    name = "leak"

    def __init__(self, database: Database, live: LiveRows, limits: Limits) -> None:
        self._database = database
        self._live = live
        self._limits = limits

    async def run(self, world: World | None, /) -> int:
        machines = world.cloud if world is not None else None
        wanted = (await self._live.read()).instances
        alive = {
            id: each
            for id, each in (machines or {}).items()
            if each.state in _ALIVE and id not in wanted
        }
        if not alive:
            return 0
        async with self._database.snapshot() as session:
            now = await read_clock(session)
            rows = await instances.by_id(session, list(alive))
        for row in rows.values():
            ended = row.state == InstanceState.TERMINATED
            if not ended or now - (row.ended_at or now) < self._limits.settling_s:
                del alive[row.id]
        return sum([await self._terminate(machine) for machine in alive.values()])

    async def _terminate(self, machine: CloudInstance) -> int:
        async with self._database.transaction() as session:
            operation = await operations.add_termination(
                session, machine.instance_id, self._limits.operation_s
            )
        if operation.attempts or operation.send_after:
            return 0  # under way
        log.error(
            "a machine runs that nobody asked for; terminating it",
            instance_id=machine.instance_id,
            cloud_id=machine.cloud_id,
        )
        return 1
