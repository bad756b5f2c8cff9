"""Deployments: observe demand, decide, store why, and bring the number of replicas to it."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.autoscaler.crash_loop import CrashPolicy, Failures
from control_plane.autoscaler.decision import Decision, is_news
from control_plane.controller.demand import DemandWatch
from control_plane.controller.deployment_plan import DeploymentPlan, DeploymentSeen, plan
from control_plane.controller.hold import each_row, hold
from control_plane.controller.limits import Limits
from control_plane.controller.scaling_spec import scaling_policy
from control_plane.controller.world import World
from control_plane.store.clock import read_clock
from control_plane.store.repositories import decisions, deployments, instances, replicas
from control_plane.store.session import Database
from control_plane.store.tables import Deployment, Revision
from infra.queue.queue import Signals
from infra.states import DeploymentState, ReplicaState, advance
from infra.telemetry import logger

log = logger(__name__)


class DeploymentReconciler:
    name = "deployment"

    def __init__(
        self, database: Database, watch: DemandWatch, limits: Limits, crash: CrashPolicy
    ) -> None:
        self._database = database
        self._watch = watch
        self._limits = limits
        self._crash = crash

    async def run(self, world: World | None, /) -> int:
        async with self._database.snapshot() as session:
            ids = [each.deployment.id for each in await deployments.all_live(session)]
        self._watch.keep_only(ids)
        running = _running(world)
        return await each_row(ids, lambda row_id: self._reconcile(row_id, running))

    async def _reconcile(self, deployment_id: str, running: Mapping[str, int]) -> int:
        async with self._database.snapshot() as session:
            deployment = await session.get_one(Deployment, deployment_id)
            live = await replicas.live_of(session, deployment_id)
        revision_ids = {deployment.revision_id, *(each.revision_id for each in live)}
        signals = await self._watch.signals(revision_ids)
        async with self._database.snapshot() as session:
            if not await self._has_work(session, deployment_id, signals, running):
                return 0
        async with hold(self._database, Deployment, deployment_id, self._limits.lease_s) as held:
            if held is None:
                return 0
            async with held.apply() as session:
                return await self._write(session, deployment_id, signals, running)

    async def _has_work(
        self,
        session: AsyncSession,
        deployment_id: str,
        signals: dict[str, Signals] | None,
        running: Mapping[str, int],
    ) -> bool:
        deployment, wanted = await self._plan(session, deployment_id, signals, running)
        return wanted.changes(deployment) or await _is_news(session, deployment, wanted.decision)

    async def _plan(
        self,
        session: AsyncSession,
        deployment_id: str,
        signals: dict[str, Signals] | None,
        running: Mapping[str, int],
    ) -> tuple[Deployment, DeploymentPlan]:
        deployment = await session.get_one(Deployment, deployment_id)
        revision = await session.get_one(Revision, deployment.revision_id)
        policy = scaling_policy(deployment.spec, revision.options)
        capacity_jobs = deployment.target_replicas * policy.jobs_per_replica
        seen = DeploymentSeen(
            now=await read_clock(session),
            replicas=await replicas.live_of(session, deployment_id),
            running=running,
            failures=await self._failures(session, deployment),
            demand=None
            if signals is None
            else self._watch.demand(deployment_id, signals, policy.idle_s, capacity_jobs),
            pending=None
            if signals is None
            else {revision_id: each.pending for revision_id, each in signals.items()},
        )
        return deployment, plan(deployment, seen, policy, self._crash)

    async def _failures(self, session: AsyncSession, deployment: Deployment) -> Failures:
        failed = await replicas.ended_unready(session, deployment, self._crash.limit)
        if not failed:
            return Failures()
        return Failures(len(failed), failed[0].ended_at or 0.0, failed[0].reason)

    async def _write(
        self,
        session: AsyncSession,
        deployment_id: str,
        signals: dict[str, Signals] | None,
        running: Mapping[str, int],
    ) -> int:
        """Plan again on what the rows say now that they are ours, and carry it out."""
        deployment, wanted = await self._plan(session, deployment_id, signals, running)
        decision = wanted.decision
        changes = wanted.changes(deployment)
        if await _is_news(session, deployment, decision):
            await decisions.add(
                session,
                deployment_id,
                decisions.SCALE,
                decision.reason.value,
                decision.formula,
                decision.inputs,
                {"target_replicas": decision.target, "add": wanted.add, "drain": len(wanted.drain)},
            )
        if not changes:
            return 0
        for _ in range(wanted.add):
            await replicas.add(session, deployment)
        for each in wanted.drain:
            seen = ReplicaState(each.state)
            reason = f"scaled to {decision.target}: {decision.reason.value}"
            moved = await replicas.move(session, each.id, seen, ReplicaState.DRAINING, reason)
            if moved and each.instance_id is not None:
                await instances.change_assignment(session, each.instance_id)
        deployment.state = advance(DeploymentState(deployment.state), wanted.state).value
        deployment.reason = wanted.reason
        deployment.target_replicas = decision.target
        deployment.updated_at = await read_clock(session)
        log.info(
            "deployment",
            deployment=deployment_id,
            state=wanted.state.value,
            target=decision.target,
            why=decision.reason.value,
        )
        return 1


async def _is_news(session: AsyncSession, deployment: Deployment, decision: Decision) -> bool:
    last = await decisions.newest(session, deployment.id, decisions.SCALE)
    if last is None:
        return True
    age_s = await read_clock(session) - last.created_at
    return is_news(decision, deployment.target_replicas, last.reason, age_s)


def _running(world: World | None) -> dict[str, int]:
    heartbeats = world.heartbeats.values() if world is not None else ()
    return {
        report.replica_id: report.running
        for heartbeat in heartbeats
        for report in heartbeat.replicas
    }
