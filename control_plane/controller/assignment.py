"""Tells each agent what to run, until its heartbeat says that it has heard."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from control_plane.controller.live import LiveRows
from control_plane.controller.world import World
from control_plane.store.repositories import instances
from control_plane.store.session import Database
from control_plane.store.tables import Instance
from infra.peer_access import weights_key
from infra.registry import Registry
from infra.states import InstanceState
from infra.wire import Assignment

_AGAIN_S = 1.0
"""An assignment that was not heard of by then is published again (Redis may have lost it)."""
_LISTENING = (InstanceState.JOINED, InstanceState.NOTICED, InstanceState.DRAINING)


class AssignmentPublisher:
    """Needs no lease: an assignment is absolute and numbered, so telling it twice is harmless."""

    name = "assignment"

    def __init__(
        self, database: Database, live: LiveRows, registry: Registry, secret: bytes
    ) -> None:
        """`secret`: of the control plane, from which the keys of weights are derived."""
        self._database = database
        self._live = live
        self._registry = registry
        self._secret = secret
        self._told: dict[str, tuple[int, float]] = {}
        """Instance -> (version, when by our monotonic clock)."""

    async def run(self, world: World | None, /) -> int:
        """Raises RedisError: an assignment could not be published."""
        if world is None:
            return 0
        live = (await self._live.read()).instances.values()
        rows = [each for each in live if each.state in _LISTENING]
        self._told = {row.id: self._told[row.id] for row in rows if row.id in self._told}
        await self._publish(
            [row.id for row in rows if row.joined_at is not None and self._must_be_told(row, world)]
        )
        return 0

    def _must_be_told(self, row: Instance, world: World) -> bool:
        heartbeat = world.heartbeats.get(row.id)
        if heartbeat is not None and heartbeat.assignment_version >= row.assignment_version:
            return False
        version, told_at = self._told.get(row.id, (0, 0.0))
        return version < row.assignment_version or time.monotonic() - told_at > _AGAIN_S

    async def _publish(self, instance_ids: Sequence[str]) -> None:
        if not instance_ids:
            return
        async with self._database.snapshot() as session:
            found = await instances.assignments(session, instance_ids)
        for assignment in found:
            await self._registry.assign(self._with_keys(assignment))
            self._told[assignment.instance_id] = (assignment.version, time.monotonic())

    def _with_keys(self, assignment: Assignment) -> Assignment:
        replicas = [
            msgspec.structs.replace(each, weights_key=weights_key(self._secret, each.model_uri))
            for each in assignment.replicas
        ]
        return msgspec.structs.replace(assignment, replicas=replicas)
