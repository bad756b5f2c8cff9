"""An agent without engines: it joins, obeys its assignment and reports what the test wants."""

from __future__ import annotations

import msgspec
from redis.asyncio import Redis

from control_plane.store.repositories import joins
from control_plane.store.session import Database
from infra.cloud.base import LaunchRequest
from infra.keys import hash_secret
from infra.registry import AgentRegistry
from infra.states import ReplicaState, is_final
from infra.wire import (
    WIRE_VERSION,
    Assignment,
    Heartbeat,
    ReplicaReport,
    ReplicaSpec,
    StartReport,
    StepSample,
)


class ScriptedAgent:
    def __init__(self, jobs: Redis, database: Database, request: LaunchRequest) -> None:
        self.instance_id = request.instance_id
        self.becomes = ReplicaState.READY
        """What a new replica becomes."""
        self.start = StartReport()
        """What it says of each start."""
        self.steps: list[StepSample] = []
        """What each of its reports tells of steps."""
        self.kv_tokens = 0
        self.silent = False
        self.left = False
        self.assignment = Assignment(self.instance_id, 0)
        self._token = request.user_data["TAMER_JOIN_TOKEN"]
        self._database = database
        self._registry = AgentRegistry(jobs, self.instance_id)
        self._joined = False
        self._sequence = 0
        self._ended: dict[str, ReplicaReport] = {}

    async def live(self) -> None:
        """One beat of its life."""
        if self.silent or self.left:
            return
        if not await self.join():
            return
        told = await self._registry.next_assignment(0.001)
        if told is not None and told.version > self.assignment.version:
            self.assignment = told
        await self.beat()
        self.left = self.assignment.leave

    async def beat(self) -> None:
        self._sequence += 1
        heartbeat = Heartbeat(
            instance_id=self.instance_id,
            wire_version=WIRE_VERSION,
            build="scripted",
            sequence=self._sequence,
            assignment_version=self.assignment.version,
            replicas=[self._report(spec) for spec in self._specs()],
            leaving=self.assignment.leave,
        )
        await self._registry.beat(heartbeat, ttl_s=60.0 if not heartbeat.leaving else 0.05)

    async def join(self) -> bool:
        """Whether it has joined, now or before."""
        self._joined = self._joined or await self._join()
        return self._joined

    async def _join(self) -> bool:
        token_hash = hash_secret(self._token)
        async with self._database.transaction() as session:
            row = await joins.lock_by_hash(session, token_hash)
            return row is not None and await joins.take(session, row.id, token_hash, None, {})

    def _specs(self) -> list:
        return self.assignment.replicas

    def _report(self, spec: ReplicaSpec) -> ReplicaReport:
        if spec.replica_id not in self._ended:
            state = ReplicaState.TERMINATED if spec.draining else self.becomes
            if spec.asleep and state is ReplicaState.READY:
                state = ReplicaState.SLEEPING
            start = msgspec.structs.replace(self.start, wakes=spec.wakes)
            report = ReplicaReport(
                spec.replica_id,
                state,
                "the script says so",
                kv_tokens_total=self.kv_tokens,
                start=start,
                steps=self.steps,
            )
            if not is_final(state):
                return report
            self._ended[spec.replica_id] = report
        return self._ended[spec.replica_id]
