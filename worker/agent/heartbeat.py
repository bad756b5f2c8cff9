"""What the agent says of itself, at every beat and whenever a replica changes its state."""

from __future__ import annotations

import asyncio

from infra.backoff import Backoff
from infra.connection import REDIS_AWAY, RedisClient
from infra.registry import AgentRegistry, ring_controller
from infra.waiting import set_within
from infra.wire import WIRE_VERSION, Heartbeat
from worker.agent.clock import lease_clock_s
from worker.agent.metrics import EngineMetrics
from worker.agent.supervisor import Supervisor

BEATS_UNTIL_SILENT = 5
_BEATS_UNTIL_DOUBT = 2


class Heart:
    def __init__(
        self,
        jobs: RedisClient,
        instance_id: str,
        build: str,
        heartbeat_s: float,
        news: asyncio.Event,
    ) -> None:
        self.leaving = False
        self.missed = asyncio.Event()
        """Set by a silence in which we may have been given up."""
        self._jobs = jobs
        self._registry = AgentRegistry(jobs, instance_id)
        self._instance_id = instance_id
        self._build = build
        self._heartbeat_s = heartbeat_s
        self._news = news
        self._sequence = 0
        self._heard_at_s = lease_clock_s()
        self._metrics = EngineMetrics()

    async def beat_forever(self, supervisor: Supervisor) -> None:
        backoff = Backoff(first_s=0.1, limit_s=2.0)
        while True:
            has_news = self._news.is_set()
            self._news.clear()
            try:
                await self.beat(supervisor, ring=has_news)
            except REDIS_AWAY:
                if has_news:
                    self._news.set()
                self._doubt()
                await backoff.pause()
                continue
            backoff.reset()
            await set_within(self._news, self._heartbeat_s)

    async def beat(self, supervisor: Supervisor, *, ring: bool) -> None:
        """One heartbeat; `ring` asks the controller to read it now."""
        self._sequence += 1
        reports = supervisor.reports()
        self._metrics.see(reports, supervisor.revisions())
        heartbeat = Heartbeat(
            instance_id=self._instance_id,
            wire_version=WIRE_VERSION,
            build=self._build,
            sequence=self._sequence,
            assignment_version=supervisor.version,
            replicas=reports,
            leaving=self.leaving,
            standbys=supervisor.standbys.count,
            standby_bytes=supervisor.standbys.held_bytes,
        )
        ttl_s = BEATS_UNTIL_SILENT * self._heartbeat_s
        async with asyncio.timeout(ttl_s):
            await self._registry.beat(heartbeat, ttl_s)
            self._doubt()
            self._heard_at_s = lease_clock_s()
            if ring:
                await ring_controller(self._jobs)

    def _doubt(self) -> None:
        if lease_clock_s() - self._heard_at_s > _BEATS_UNTIL_DOUBT * self._heartbeat_s:
            self.missed.set()
