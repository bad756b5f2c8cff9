"""What one pass of the controller sees: heartbeats, silences and what the cloud says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from control_plane.controller.live import LiveRows
from control_plane.controller.silence import Silences
from infra.cloud.base import Cloud, CloudError, CloudInstance
from infra.registry import Registry
from infra.telemetry import logger
from infra.wire import Heartbeat

_CLOUD_LIMIT_S = 2.0

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class World:
    heartbeats: Mapping[str, Heartbeat] = field(default_factory=dict)
    silent_s: Mapping[str, float] = field(default_factory=dict)
    cloud: Mapping[str, CloudInstance] | None = None
    """By our instance id; None where the cloud could not be asked: then nothing follows from it."""


class Watch:
    """Looks at the start of each pass, before any row is read: a machine that the cloud shows then
    has its row already."""

    def __init__(self, live: LiveRows, registry: Registry, cloud: Cloud) -> None:
        self._live = live
        self._registry = registry
        self._cloud = cloud
        self._silences = Silences()
        self._cloud_answers = True

    async def look(self) -> World:
        """Raises RedisError: nobody can be heard now."""
        machines = await self._describe()
        ids = list((await self._live.read()).instances)
        heartbeats = await self._registry.heartbeats(ids)
        silent_s = self._silences.listen(ids, heartbeats, time.monotonic())
        return World(heartbeats=heartbeats, silent_s=silent_s, cloud=machines)

    async def _describe(self) -> Mapping[str, CloudInstance] | None:
        try:
            async with asyncio.timeout(_CLOUD_LIMIT_S):
                found = await self._cloud.describe()
        except (CloudError, TimeoutError) as error:
            if self._cloud_answers:
                log.warning("the cloud does not answer", error=str(error) or "no answer in time")
            self._cloud_answers = False
            return None
        self._cloud_answers = True
        for machine in found:
            if not machine.instance_id:
                log.error("a machine of ours carries no id", cloud_id=machine.cloud_id)
        return {machine.instance_id: machine for machine in found if machine.instance_id}
