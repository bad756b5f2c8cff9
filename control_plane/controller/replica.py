"""Replicas: each gets an instance, follows what its agent reports, and is dropped when it ends."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.controller.hold import each_row, hold
from control_plane.controller.limits import Limits
from control_plane.controller.live import LiveRows
from control_plane.controller.replica_plan import NO_ROOM, ReplicaStep, is_settled, next_step
from control_plane.controller.world import World
from control_plane.store import leases
from control_plane.store.clock import read_clock
from control_plane.store.repositories import instances, machines, replicas, starts
from control_plane.store.session import Database
from control_plane.store.tables import Instance, Replica
from infra.cloud.base import Market
from infra.connection import RedisClient
from infra.names import AWS_CLOUD, JOINED_CLOUD
from infra.queue.queue import JobQueue
from infra.states import ReplicaState, is_final
from infra.telemetry import logger

_UNDER_WAY = (ReplicaState.BOOTING, ReplicaState.LOADING, ReplicaState.READY)

log = logger(__name__)


class ReplicaReconciler:
    name = "replica"

    def __init__(
        self, database: Database, live: LiveRows, jobs: RedisClient, cloud: str, limits: Limits
    ) -> None:
        self._database = database
        self._live = live
        self._jobs = jobs
        self._cloud = cloud
        self._limits = limits

    async def run(self, world: World | None, /) -> int:
        """Raises RedisError: a replica's end could not be told to its queue; it is tried again."""
        if world is None:
            return 0
        live = await self._live.read()
        known = live.instances
        ids = [
            id
            for id, replica in live.replicas.items()
            if not is_settled(replica, known.get(world.ready_on.get(id, "")))
            and (
                _bereaved(replica, known)
                or self._plan(replica, known.get(replica.instance_id or ""), world, live.now)
            )
        ]
        return await each_row(ids, lambda row_id: self._reconcile(row_id, world))

    async def _reconcile(self, replica_id: str, world: World) -> int:
        """In one transaction, but for an end: its queue, too, has to hear of that."""
        async with self._database.transaction() as session:
            if not await leases.lock_free(session, Replica, replica_id):
                return 0
            replica, step = await self._look(session, replica_id, world)
            if step is None:
                return 0
            ends = is_final(step.to)
            moved = not ends and await self._write(session, replica, step, world.heartbeats.keys())
        if ends:
            return await self._end(replica_id, world)
        return self._moved(replica, step) if moved else 0

    async def _end(self, replica_id: str, world: World) -> int:
        async with hold(self._database, Replica, replica_id, self._limits.lease_s) as held:
            if held is None:
                return 0
            async with self._database.snapshot() as session:
                replica, step = await self._look(session, replica_id, world)
            if step is None or not is_final(step.to):
                return 0
            # Before the row says so: a controller that dies in between does it again.
            await JobQueue(self._jobs, replica.revision_id).drop_replica(replica_id)
            async with held.apply() as session:
                moved = await self._write(session, replica, step, world.heartbeats.keys())
        return self._moved(replica, step) if moved else 0

    async def _look(
        self, session: AsyncSession, replica_id: str, world: World
    ) -> tuple[Replica, ReplicaStep | None]:
        """The row as it is now, which stays as it was seen whatever is written."""
        now = await read_clock(session)
        replica = await session.get_one(Replica, replica_id)
        instance = await session.get(Instance, replica.instance_id or "")
        session.expunge_all()
        return replica, self._plan(replica, instance, world, now)

    def _moved(self, replica: Replica, step: ReplicaStep) -> int:
        self._live.touched.replicas.add(replica.id)
        log.info(
            "replica",
            replica_id=replica.id,
            instance_id=replica.instance_id,
            state=step.to.value,
            reason=step.reason,
        )
        return 1

    def _plan(
        self, replica: Replica, instance: Instance | None, world: World, now: float
    ) -> ReplicaStep | None:
        if is_final(ReplicaState(replica.state)):
            return None
        heartbeat = world.heartbeats.get(replica.instance_id or "")
        return next_step(replica, instance, heartbeat, now, self._limits)

    async def _write(
        self, session: AsyncSession, replica: Replica, step: ReplicaStep, heard: Collection[str]
    ) -> bool:
        seen = ReplicaState(replica.state)
        if replica.instance_id is None and not is_final(step.to):
            return await self._place(session, replica, step, heard)
        if step.to is ReplicaState.REQUESTED:
            return await replicas.displace(
                session, replica.id, replica.instance_id or "", step.reason
            )
        moved = await replicas.move(session, replica.id, seen, step.to, step.reason)
        if moved and step.to in _UNDER_WAY:
            await starts.launched(session, replica.id)
        changes_assignment = is_final(step.to) or step.to is ReplicaState.DRAINING
        if moved and changes_assignment and replica.instance_id is not None:
            await instances.change_assignment(session, replica.instance_id)
        return moved

    async def _place(
        self, session: AsyncSession, replica: Replica, step: ReplicaStep, heard: Collection[str]
    ) -> bool:
        """On a machine that stayed for it, or that joined and has room; else on a new one, where
        the cloud has one kind. Where it has many, placement chooses."""
        seen = ReplicaState(replica.state)
        instance = await machines.lock_kept(session, replica.deployment_id, heard)
        if instance is not None:
            await instances.keep(session, instance.id, None)
        else:
            instance = await machines.lock_slot(session, heard)
        if instance is not None:
            await instances.change_assignment(session, instance.id)
            await starts.launched(session, replica.id)
        elif self._cloud == AWS_CLOUD:
            return False
        elif self._cloud != JOINED_CLOUD:
            instance = await instances.add(
                session, self._cloud, self._cloud, self._cloud, Market.ON_DEMAND.value
            )
        elif replica.reason != NO_ROOM:
            await replicas.move(session, replica.id, seen, seen, NO_ROOM)
            return False
        else:
            return False
        return await replicas.move(
            session, replica.id, seen, step.to, step.reason, instance_id=instance.id
        )


def _bereaved(replica: Replica, live: Mapping[str, Instance]) -> bool:
    """Its instance has ended: there is a step to take, whatever it is."""
    return replica.instance_id is not None and replica.instance_id not in live
