"""What one pass of the controller sees: heartbeats, silences and what the cloud says."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from control_plane.controller.live import LiveRows
from control_plane.controller.sight import CloudSight
from control_plane.controller.silence import Silences
from infra.cloud.base import Cloud, CloudInstance
from infra.registry import Registry
from infra.states import ReplicaState
from infra.wire import Heartbeat, ReplicaReport


@dataclass(frozen=True)
class World:
    heartbeats: Mapping[str, Heartbeat] = field(default_factory=dict)
    silent_s: Mapping[str, float] = field(default_factory=dict)
    cloud: Mapping[str, CloudInstance] | None = None
    """By our instance id; None where the cloud could not be asked: then nothing follows from it."""
    cloud_age_s: float = 0.0
    """How long ago the cloud was asked."""

    @cached_property
    def reports(self) -> Mapping[str, ReplicaReport]:
        """By replica."""
        heartbeats = self.heartbeats.values()
        return {each.replica_id: each for heartbeat in heartbeats for each in heartbeat.replicas}

    @cached_property
    def ready_on(self) -> Mapping[str, str]:
        """By replica that says that it is ready, the instance that says so."""
        return {
            each.replica_id: id
            for id, heartbeat in self.heartbeats.items()
            for each in heartbeat.replicas
            if each.state is ReplicaState.READY
        }


class Watch:
    """Looks at the start of each pass, before any row is read: a machine that the cloud shows then
    has its row already."""

    def __init__(
        self, live: LiveRows, registry: Registry, cloud: Cloud, describe_every_s: float
    ) -> None:
        self._live = live
        self._registry = registry
        self._sight = CloudSight(cloud, describe_every_s)
        self._silences = Silences()

    async def look(self) -> World:
        """Raises RedisError: nobody can be heard now."""
        sighting = await self._sight.look()
        rows = (await self._live.read()).instances
        heartbeats = await self._registry.heartbeats(list(rows))
        # A machine that boots is not silent: it has nobody yet who could speak.
        joined = [id for id, row in rows.items() if row.joined_at is not None]
        silent_s = self._silences.listen(joined, heartbeats, time.monotonic())
        if sighting is None:
            return World(heartbeats=heartbeats, silent_s=silent_s)
        return World(heartbeats, silent_s, sighting.machines, sighting.age_s)

    async def close(self) -> None:
        await self._sight.close()
