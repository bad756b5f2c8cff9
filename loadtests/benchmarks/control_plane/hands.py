"""What Celery, a cloud and agents would do with operations, without machines: a launch makes an
instance that joins and beats, a termination ends one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from control_plane.store.repositories import instances, joins, operations
from control_plane.store.repositories.operations import OperationKind, OperationState
from control_plane.store.session import Database
from infra.connection import RedisClient
from infra.keys import hash_secret
from infra.registry import AgentRegistry, ring_controller
from infra.states import ReplicaState
from infra.wire import WIRE_VERSION, Assignment, Heartbeat, ReplicaReport
from loadtests.benchmarks.control_plane.controller_process import MACHINES

_LEASE_S = 60.0
_TTL_S = 10.0
_TURN_S = 0.25


class Agent:
    """Does at once what it is told."""

    def __init__(self, jobs: RedisClient, instance_id: str) -> None:
        self._registry = AgentRegistry(jobs, instance_id)
        self._assignment = Assignment(instance_id, 0)
        self._sequence = 0

    @property
    def left(self) -> bool:
        return self._assignment.leave

    async def live(self) -> None:
        told = await self._registry.next_assignment(0.001)
        if told is not None and told.version > self._assignment.version:
            self._assignment = told
        self._sequence += 1
        await self._registry.beat(self._heartbeat(), _TTL_S if not self.left else 0.05)

    def _heartbeat(self) -> Heartbeat:
        ready, ended = ReplicaState.READY, ReplicaState.TERMINATED
        return Heartbeat(
            instance_id=self._assignment.instance_id,
            wire_version=WIRE_VERSION,
            build="benchmark",
            sequence=self._sequence,
            assignment_version=self._assignment.version,
            replicas=[
                ReplicaReport(each.replica_id, ended if each.draining else ready)
                for each in self._assignment.replicas
            ],
            leaving=self.left,
        )


class Hands:
    def __init__(self, database: Database, jobs: RedisClient) -> None:
        self._database = database
        self._jobs = jobs
        self._done: set[str] = set()
        self._agents: dict[str, Agent] = {}

    async def work(self, sent: Sequence[Mapping[str, float]], stop: asyncio.Event) -> None:
        """Take up what controllers say that they sent, until `stop`."""
        while not stop.is_set():
            for operation_id in {id for each in sent for id in list(each)} - self._done:
                await self.carry_out(operation_id)
            await self.beat()
            await asyncio.sleep(_TURN_S)

    async def carry_out(self, operation_id: str) -> None:
        self._done.add(operation_id)
        async with self._database.transaction() as session:
            claimed = await operations.claim(session, operation_id, _LEASE_S)
            if claimed is None:
                return
            operation, token = claimed
            instance_id = operation.subject_id
            if operation.kind == OperationKind.LAUNCH_INSTANCE:
                secret = hash_secret(instance_id)
                if await instances.expect_join(session, instance_id, secret, _LEASE_S):
                    await joins.take(session, instance_id, secret, None, {})
            done = OperationState.SUCCEEDED
            await operations.finish(session, operation_id, token, done)
        if operation.kind == OperationKind.LAUNCH_INSTANCE:
            await add_machines(self._jobs, [instance_id])
            self._agents[instance_id] = Agent(self._jobs, instance_id)
        else:
            self._agents.pop(instance_id, None)
            await self._jobs.srem(MACHINES, instance_id)
        await ring_controller(self._jobs)

    async def beat(self) -> None:
        for instance_id, agent in list(self._agents.items()):
            await agent.live()
            if agent.left:
                self._agents.pop(instance_id, None)


async def add_machines(jobs: RedisClient, instance_ids: Iterable[str]) -> None:
    """From now on the cloud shows them."""
    await jobs.sadd(MACHINES, *instance_ids)
