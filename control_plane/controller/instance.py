"""Instances: launched, awaited, watched, told what to run, and ended for certain."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.controller.hold import each_row, hold
from control_plane.controller.instance_plan import (
    ENDING,
    STARTING,
    InstanceSeen,
    launch_unrecorded,
    needs_termination,
    next_step,
)
from control_plane.controller.instance_step import Cause, InstanceStep
from control_plane.controller.join_limit import SAMPLES, join_limit_s
from control_plane.controller.launch_record import record_launch
from control_plane.controller.limits import Limits
from control_plane.controller.live import LiveRows
from control_plane.controller.metrics import INSTANCE_STEPS
from control_plane.controller.pool_lessons import learn_hours, learn_loss
from control_plane.controller.provisioning import explain_step
from control_plane.controller.world import World
from control_plane.store import leases
from control_plane.store.clock import read_clock
from control_plane.store.repositories import instances, operations, replicas
from control_plane.store.repositories.operations import OperationKind
from control_plane.store.session import Database
from control_plane.store.tables import Instance, Operation
from infra.cloud.base import CloudInstance
from infra.registry import Registry
from infra.states import InstanceState, is_final
from infra.telemetry import logger

_MEASURE_EVERY_S = 60.0

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class _Plan:
    step: InstanceStep | None
    terminate: bool
    machine: CloudInstance | None = None
    unrecorded: bool = False
    """The answer to its launch was lost: the machine costs money all the same."""

    @property
    def empty(self) -> bool:
        return self.step is None and not self.terminate and not self.unrecorded

    @property
    def ends(self) -> bool:
        return self.step is not None and is_final(self.step.to)


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """The newest of each kind, by instance."""

    launches: Mapping[str, Operation]
    terminations: Mapping[str, Operation]


class InstanceReconciler:
    name = "instance"

    def __init__(
        self, database: Database, live: LiveRows, registry: Registry, limits: Limits, cloud: str
    ) -> None:
        """`cloud`: the configured one, of whose boots the join limit follows."""
        self._database = database
        self._live = live
        self._registry = registry
        self._limits = limits
        self._cloud = cloud
        self._measured = not limits.join_s
        self._measured_at_s = float("-inf")

    async def run(self, world: World | None, /) -> int:
        """Raises RedisError: an ended instance could not be forgotten; it is tried again."""
        if world is None:
            return 0
        live = await self._live.read()
        replicas_on = Counter(each.instance_id for each in live.replicas.values())
        async with self._database.snapshot() as session:
            await self._measure_joins(session)
            under_way = await _operations(session, live.instances.values())
        ids = [
            id
            for id, instance in live.instances.items()
            if not self._plan(instance, world, live.now, replicas_on[id], under_way).empty
        ]
        return await each_row(ids, lambda row_id: self._reconcile(row_id, world))

    async def _reconcile(self, instance_id: str, world: World) -> int:
        """In one transaction, but for an end: its agent's keys have to go with it."""
        async with self._database.transaction() as session:
            if not await leases.lock_free(session, Instance, instance_id):
                return 0
            instance, plan, now = await self._look(session, instance_id, world)
            if not plan.ends:
                await self._write(session, instance, plan, now)
        if plan.ends:
            return await self._end(instance_id, world)
        return self._told(instance_id, plan)

    async def _end(self, instance_id: str, world: World) -> int:
        async with hold(self._database, Instance, instance_id, self._limits.lease_s) as held:
            if held is None:
                return 0
            async with self._database.snapshot() as session:
                instance, plan, now = await self._look(session, instance_id, world)
            if not plan.ends:
                return 0
            await self._registry.forget(instance_id)
            async with held.apply() as session:
                await self._write(session, instance, plan, now)
        return self._told(instance_id, plan)

    async def _look(
        self, session: AsyncSession, instance_id: str, world: World
    ) -> tuple[Instance, _Plan, float]:
        """The row as it is now, which stays as it was seen whatever is written."""
        instance = await session.get_one(Instance, instance_id)
        now = await read_clock(session)
        live = len(await replicas.live_on(session, instance_id))
        under_way = await _operations(session, [instance])
        session.expunge_all()
        return instance, self._plan(instance, world, now, live, under_way), now

    def _told(self, instance_id: str, plan: _Plan) -> int:
        if plan.empty:
            return 0
        self._live.touched.instances.add(instance_id)
        if plan.step is not None:
            if plan.step.cause is not None:
                INSTANCE_STEPS.labels(plan.step.cause.value).inc()
            log.info(
                "instance",
                instance_id=instance_id,
                state=plan.step.to.value,
                reason=plan.step.reason,
            )
        return 1

    async def _measure_joins(self, session: AsyncSession) -> None:
        """Now and then: how long machines of this cloud take to join."""
        now_s = time.monotonic()
        if not self._measured or now_s - self._measured_at_s < _MEASURE_EVERY_S:
            return
        self._measured_at_s = now_s
        joins_s = await instances.newest_joins_s(session, self._cloud, SAMPLES)
        self._limits = replace(self._limits, join_s=join_limit_s(joins_s))

    def _plan(
        self, instance: Instance, world: World, now: float, live: int, under_way: _UnderWay
    ) -> _Plan:
        """`live` is the number of replicas on it that have not ended."""
        id, state = instance.id, InstanceState(instance.state)
        if is_final(state):
            return _Plan(None, terminate=False)
        seen = InstanceSeen(
            now=now,
            replicas=live,
            heartbeat=world.heartbeats.get(id),
            silent_s=world.silent_s.get(id, 0.0),
            cloud_answers=world.cloud is not None,
            cloud_age_s=world.cloud_age_s,
            machine=(world.cloud or {}).get(id),
            launch=under_way.launches.get(id),
            termination=under_way.terminations.get(id),
        )
        step = next_step(instance, seen, self._limits)
        ended = step is not None and is_final(step.to)
        return _Plan(
            step,
            not ended and needs_termination(instance, seen, self._limits),
            seen.machine,
            launch_unrecorded(instance, seen),
        )

    async def _write(
        self, session: AsyncSession, instance: Instance, plan: _Plan, now: float
    ) -> None:
        if plan.unrecorded and plan.machine is not None:
            await record_launch(session, instance, plan.machine)
        if plan.terminate:
            await operations.add_termination(session, instance.id, self._limits.operation_s)
        if plan.step is None:
            return
        step, seen = plan.step, InstanceState(instance.state)
        ended = _ended_at(instance, plan.machine, now) if plan.ends else {}
        if not await instances.move(session, instance.id, seen, step.to, step.reason, **ended):
            return
        if step.place_again:
            await instances.refuse(session, instance.id, step.reason)
        await explain_step(session, instance, step, now)
        await _learn(session, instance, seen, step)
        if step.cause is Cause.LAUNCH:
            await operations.add(
                session,
                OperationKind.LAUNCH_INSTANCE,
                instance.id,
                f"launch:{instance.id}",
                self._limits.operation_s,
            )


def _ended_at(instance: Instance, machine: CloudInstance | None, now: float) -> dict[str, float]:
    """When its bill ended, where the cloud tells: nobody may have looked for hours. A clock that is
    wrong does no harm: it is taken between the launch and now."""
    if machine is None or not machine.ended_at:
        return {}
    return {"ended_at": min(max(machine.ended_at, instance.launched_at or 0.0), now)}


async def _learn(
    session: AsyncSession, instance: Instance, seen: InstanceState, step: InstanceStep
) -> None:
    """What its end says of its pool; a machine that was announced is counted already."""
    taken = step.cause is Cause.ENDED_BY_CLOUD and seen is not InstanceState.NOTICED
    if taken or step.cause is Cause.NOTICED:
        await learn_loss(session, instance)
    if step.to is InstanceState.TERMINATED:
        await learn_hours(session, instance)


async def _operations(session: AsyncSession, among: Collection[Instance]) -> _UnderWay:
    """Looked up where an instance's state makes anything of them."""
    starting = [each.id for each in among if each.state in STARTING]
    ending = [each.id for each in among if each.state in ENDING]
    return _UnderWay(
        await operations.newest_of(session, starting, OperationKind.LAUNCH_INSTANCE),
        await operations.newest_of(session, ending, OperationKind.TERMINATE_INSTANCE),
    )
