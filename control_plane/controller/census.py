"""Counts rows by state for the metrics, every few seconds where somebody may read them."""

from __future__ import annotations

import time

from control_plane.controller.metrics import INSTANCES, OPERATIONS, REPLICAS
from control_plane.controller.world import World
from control_plane.store.repositories import counts, deployments
from control_plane.store.session import Database

_EVERY_S = 5.0


class Census:
    """Changes nothing."""

    name = "census"

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counted_at_s = float("-inf")

    async def run(self, _world: World | None, /) -> int:
        now_s = time.monotonic()
        if now_s - self._counted_at_s < _EVERY_S:
            return 0
        self._counted_at_s = now_s
        async with self._database.snapshot() as session:
            names = {
                each.deployment.id: each.deployment.name
                for each in await deployments.all_live(session)
            }
            replicas = await counts.replicas(session)
            instances = await counts.instances(session)
            operations = await counts.operations(session)
        REPLICAS.replace(
            {
                (names.get(deployment_id, "deleted"), state): count
                for deployment_id, by_state in replicas.items()
                for state, count in by_state.items()
            }
        )
        INSTANCES.replace({(state,): count for state, count in instances.items()})
        OPERATIONS.replace(operations)
        return 0
