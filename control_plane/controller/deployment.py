"""Deployments: observe demand, decide, store why, and bring the number of replicas to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.autoscaler import decision as scaling
from control_plane.autoscaler.boot_time import BootTime
from control_plane.autoscaler.crash_loop import CrashPolicy, Failures
from control_plane.controller.boot_times import SAMPLES, next_boot_time
from control_plane.controller.demand import DemandWatch
from control_plane.controller.deployment_outcome import carry_out, explain
from control_plane.controller.deployment_plan import DeploymentPlan, DeploymentSeen, plan
from control_plane.controller.hold import each_row, hold
from control_plane.controller.limits import Limits
from control_plane.controller.metrics import keep_only, see_queues
from control_plane.controller.scaling_spec import scaling_policy
from control_plane.controller.world import World
from control_plane.store.clock import read_clock
from control_plane.store.repositories import decisions, deployments, instances, replicas, starts
from control_plane.store.repositories.starts import BootSample
from control_plane.store.session import Database
from control_plane.store.tables import Decision, Deployment, Instance, Replica, Revision
from infra.queue.queue import Signals
from infra.states import DeploymentState, ReplicaState, advance
from infra.telemetry import logger
from infra.wire import ReplicaReport

_FORMER = 3
"""Earlier revisions whose queues are watched."""

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
            live = [each.deployment for each in await deployments.all_live(session)]
        ids = [each.id for each in live]
        self._watch.keep_only(ids)
        keep_only({each.name for each in live})
        reports = _reports(world)
        return await each_row(ids, lambda row_id: self._reconcile(row_id, reports))

    async def _reconcile(self, deployment_id: str, reports: Mapping[str, ReplicaReport]) -> int:
        async with self._database.snapshot() as session:
            rows = await self._load(session, deployment_id)
        signals = await self._watch.signals(rows.revision_ids)
        if signals is not None:
            see_queues(rows.deployment.name, signals)
        wanted = self._plan(rows, signals, reports)
        if wanted.abandon and signals is not None:
            await self._abandon(signals, wanted.abandon)
        if not wanted.changes(rows.deployment) and not rows.is_news(wanted.decision):
            return 0
        async with hold(self._database, Deployment, deployment_id, self._limits.lease_s) as held:
            if held is None:
                return 0
            async with held.apply() as session:
                # Planned again on what the rows say now that they are ours.
                rows = await self._load(session, deployment_id)
                wanted = self._plan(rows, signals, reports)
                await _write(session, rows, wanted, _waited_s(signals), reports)
        return 1

    async def _abandon(self, signals: Mapping[str, Signals], reason: str) -> None:
        for revision_id, each in signals.items():
            if each.pending:
                await self._watch.abandon(revision_id, reason)

    async def _load(self, session: AsyncSession, deployment_id: str) -> _Rows:
        deployment = await session.get_one(Deployment, deployment_id)
        former = await _former(session, deployment)
        return _Rows(
            now=await read_clock(session),
            deployment=deployment,
            revision=await session.get_one(Revision, deployment.revision_id),
            live=await replicas.live_of(session, deployment_id),
            former=former,
            failed=await replicas.ended_unready(session, deployment, self._crash.limit),
            last_decision=await decisions.newest(session, deployment_id, decisions.SCALE),
            kept=await instances.kept_for(session, deployment_id),
            samples=await starts.boot_samples(session, deployment.revision_id, SAMPLES),
        )

    def _plan(
        self,
        rows: _Rows,
        signals: dict[str, Signals] | None,
        reports: Mapping[str, ReplicaReport],
    ) -> DeploymentPlan:
        deployment = rows.deployment
        policy = scaling_policy(deployment.spec, rows.revision.options)
        demand, pending = None, None
        if signals is not None:
            capacity_jobs = deployment.target_replicas * policy.jobs_per_replica
            demand = self._watch.demand(deployment.id, signals, policy.idle_s, capacity_jobs)
            pending = {revision_id: each.pending for revision_id, each in signals.items()}
        seen = DeploymentSeen(
            now=rows.now,
            replicas=rows.live,
            running={replica_id: each.running for replica_id, each in reports.items()},
            failures=rows.failures,
            demand=demand,
            pending=pending,
            former=rows.former,
            kept=rows.kept,
            boot=rows.boot,
        )
        return plan(deployment, seen, policy, self._crash)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the store says of one deployment."""

    now: float
    """Database time."""
    deployment: Deployment
    revision: Revision
    live: Sequence[Replica]
    former: Sequence[Replica]
    failed: Sequence[Replica]
    """Newest first, as `replicas.ended_unready` counts them."""
    last_decision: Decision | None
    kept: Sequence[Instance]
    samples: Sequence[BootSample]

    @property
    def boot(self) -> BootTime:
        asleep = any(each.state == ReplicaState.SLEEPING for each in self.live)
        return next_boot_time(self.samples, asleep)

    @property
    def revision_ids(self) -> set[str]:
        """Those whose queues may hold jobs of this deployment."""
        ran = (*self.live, *self.former)
        return {self.deployment.revision_id, *(each.revision_id for each in ran)}

    @property
    def failures(self) -> Failures:
        if not self.failed:
            return Failures()
        newest = self.failed[0]
        return Failures(len(self.failed), newest.ended_at or 0.0, newest.reason)

    def is_news(self, decision: scaling.Decision) -> bool:
        last = self.last_decision
        if last is None:
            return True
        age_s = self.now - last.created_at
        return scaling.is_news(decision, self.deployment.target_replicas, last.reason, age_s)


async def _write(
    session: AsyncSession,
    rows: _Rows,
    wanted: DeploymentPlan,
    waited_s: float,
    reports: Mapping[str, ReplicaReport],
) -> None:
    decision, deployment = wanted.decision, rows.deployment
    if rows.is_news(decision) or wanted.finish:
        await explain(session, deployment, wanted, reports)
    if not wanted.changes(deployment):
        return
    await carry_out(session, deployment, wanted, waited_s)
    deployment.state = advance(DeploymentState(deployment.state), wanted.state).value
    deployment.reason = wanted.reason
    deployment.target_replicas = decision.target
    deployment.updated_at = rows.now
    log.info(
        "deployment",
        deployment_id=deployment.id,
        state=wanted.state.value,
        target=decision.target,
        why=decision.reason.value,
    )


async def _former(session: AsyncSession, deployment: Deployment) -> Sequence[Replica]:
    """As `DeploymentSeen.former` wants them."""
    if deployment.generation == 1:
        return ()
    return await replicas.newest_of_former(session, deployment, _FORMER)


def _reports(world: World | None) -> dict[str, ReplicaReport]:
    heartbeats = world.heartbeats.values() if world is not None else ()
    return {report.replica_id: report for heartbeat in heartbeats for report in heartbeat.replicas}


def _waited_s(signals: Mapping[str, Signals] | None) -> float:
    return max((each.oldest_wait_s for each in (signals or {}).values()), default=0.0)
