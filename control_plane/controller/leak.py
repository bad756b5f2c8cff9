"""Promise 8: a machine that runs without a row that wants it is terminated."""

from __future__ import annotations

from control_plane.controller.limits import Limits
from control_plane.controller.live import LiveRows
from control_plane.controller.metrics import LEAKED_MACHINES
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
    """The other direction, rows whose machine the cloud does not know, is the instances' own:
    the cause `unknown_to_cloud` of its steps."""

    name = "leak"

    def __init__(self, database: Database, live: LiveRows, limits: Limits) -> None:
        self._database = database
        self._live = live
        self._limits = limits

    async def run(self, world: World | None, /) -> int:
        if world is None or not world.cloud:
            return 0
        wanted = (await self._live.read()).instances
        alive = {
            id: each
            for id, each in world.cloud.items()
            if each.state in _ALIVE and id not in wanted
        }
        if not alive:
            return 0
        async with self._database.snapshot() as session:
            now = await read_clock(session)
            rows = await instances.by_id(session, list(alive))
        for row in rows.values():
            ended = row.state == InstanceState.TERMINATED
            seen_after_s = now - world.cloud_age_s - (row.ended_at or now)
            if not ended or seen_after_s < self._limits.settling_s:
                del alive[row.id]
        return sum([await self._terminate(machine) for machine in alive.values()])

    async def _terminate(self, machine: CloudInstance) -> int:
        async with self._database.transaction() as session:
            operation = await operations.add_termination(
                session, machine.instance_id, self._limits.operation_s
            )
        if operation.attempts or operation.send_after:
            return 0  # under way
        LEAKED_MACHINES.inc()
        log.error(
            "a machine runs that nobody asked for; terminating it",
            instance_id=machine.instance_id,
            cloud_id=machine.cloud_id,
        )
        return 1
