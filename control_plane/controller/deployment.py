"""Deployments: observe demand, decide, store why, and bring the number of replicas to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.autoscaler.crash_loop import CrashPolicy
from control_plane.controller.deployment_outcome import carry_out, explain, hand_back
from control_plane.controller.deployment_plan import DeploymentPlan, plan
from control_plane.controller.deployment_rows import DeploymentReader, DeploymentRows
from control_plane.controller.deployment_seen import DeploymentSeen
from control_plane.controller.hold import each_row
from control_plane.controller.live import LiveRows
from control_plane.controller.metrics import keep_only, see_queues
from control_plane.controller.scaling_spec import NOTHING, scaling_policy
from control_plane.controller.scaling_watch import ScalingWatch
from control_plane.controller.world import World
from control_plane.store import leases
from control_plane.store.session import Database
from control_plane.store.tables import Deployment, Instance
from infra import reasons
from infra.connection import REDIS_AWAY, RedisClient
from infra.queue.queue import Signals
from infra.states import DeploymentState, advance
from infra.telemetry import logger
from infra.wire import ReplicaReport

log = logger(__name__)


class DeploymentReconciler:
    name = "deployment"

    def __init__(
        self,
        database: Database,
        live: LiveRows,
        jobs: RedisClient,
        watch: ScalingWatch,
        crash: CrashPolicy,
    ) -> None:
        self._database = database
        self._live = live
        self._jobs = jobs
        self._reader = DeploymentReader(crash.limit)
        self._watch = watch
        self._crash = crash

    async def run(self, world: World | None, /) -> int:
        live = await self._live.read()
        async with self._database.snapshot() as session:
            found = {each.deployment.id: each for each in await self._reader.all(session, live)}
        keep_only({each.deployment.name for each in found.values()})
        heard = _Heard(
            signals=await self._watch.look(list(found.values()), world, live.instances),
            reports=world.reports if world is not None else {},
            instances=live.instances,
        )
        changed = await each_row(found, lambda row_id: self._reconcile(found[row_id], heard))
        await self._tell(found, heard)
        return changed

    async def _tell(self, found: Mapping[str, DeploymentRows], heard: _Heard) -> None:
        """Whoever asks why, what follows from what this pass has seen."""
        try:
            asked = await reasons.asked(self._jobs) & found.keys()
            told = {id: self._why(found[id], heard) for id in sorted(asked)}
            await reasons.answer(self._jobs, {id: why for id, why in told.items() if why})
        except REDIS_AWAY as error:
            log.warning("who asks why cannot be told", error=str(error))

    def _why(self, rows: DeploymentRows, heard: _Heard) -> Mapping[str, Any]:
        try:
            return self._plan(rows, heard).decision.told()
        except ValueError:
            return {}  # nobody can read it, which was logged

    async def _reconcile(self, rows: DeploymentRows, heard: _Heard) -> int:
        signals = heard.of(rows)
        if signals is not None:
            see_queues(rows.deployment.name, signals)
        wanted = self._plan(rows, heard)
        if wanted.abandon and signals is not None:
            await self._abandon(signals, wanted.abandon)
        if not wanted.changes(rows.deployment) and not rows.is_news(wanted.decision):
            return 0
        deployment_id = rows.deployment.id
        async with self._database.transaction() as session:
            if not await leases.lock_free(session, Deployment, deployment_id):
                return 0
            # Planned again on what the rows say now that they are ours.
            now = await self._reader.one(session, deployment_id)
            if now is None:
                return 0
            wanted = self._plan(now, heard)
            await _write(session, now, wanted, _waited_s(signals), heard.reports)
        self._watch.written(deployment_id, wanted.decision)
        self._live.touched.deployments.add(deployment_id)
        return 1

    async def _abandon(self, signals: Mapping[str, Signals], reason: str) -> None:
        for revision_id, each in signals.items():
            if each.pending:
                await self._watch.queues.abandon(revision_id, reason)

    def _plan(self, rows: DeploymentRows, heard: _Heard) -> DeploymentPlan:
        deployment, signals, reports = rows.deployment, heard.of(rows), heard.reports
        pending = None
        if signals is not None:
            pending = {revision_id: each.pending for revision_id, each in signals.items()}
        if deployment.state == DeploymentState.DELETING:
            # Whatever its specification says, and whether anybody can read it.
            ending = DeploymentSeen.of_one_that_ends(rows.now, rows.live, rows.kept, pending)
            return plan(deployment, ending, NOTHING, self._crash)
        policy = scaling_policy(
            deployment.spec,
            rows.revision.options,
            rows.now,
            rows.boot.p90_s,
            deployment.target_replicas,
        )
        told = self._watch.told(rows, policy, reports, heard.instances)
        seen = DeploymentSeen(
            now=rows.now,
            replicas=rows.live,
            running={id: reports[id].running for id in rows.live_ids if id in reports},
            failures=rows.failures,
            demand=told.demand,
            pending=pending,
            former=rows.former,
            rollout=rows.part,
            kept=rows.kept,
            boot=rows.boot,
            verdict=rows.verdict,
            serving=told.serving,
            capacity=told.capacity,
            uncounted=told.uncounted,
            needed=told.kept,
            giving_way=rows.giving_way,
            before=rows.before,
            ordered=rows.ordered,
        )
        wanted = plan(deployment, seen, policy, self._crash)
        self._watch.decided(deployment.id, policy, wanted.decision)
        return wanted


@dataclass(frozen=True, slots=True)
class _Heard:
    """In this pass."""

    signals: Mapping[str, Signals]
    """Of each queue that answers."""
    reports: Mapping[str, ReplicaReport]
    instances: Mapping[str, Instance]

    def of(self, rows: DeploymentRows) -> dict[str, Signals] | None:
        """None where a queue of this deployment does not answer."""
        asked = rows.revision_ids
        return {id: self.signals[id] for id in asked} if asked <= self.signals.keys() else None


async def _write(
    session: AsyncSession,
    rows: DeploymentRows,
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
    if wanted.hand_back:
        await hand_back(session, deployment, rows.giving_way, wanted.hand_back)
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


def _waited_s(signals: Mapping[str, Signals] | None) -> float:
    return max((each.oldest_wait_s for each in (signals or {}).values()), default=0.0)
