"""Rollouts: step by step from one revision of a deployment to the next, or back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.autoscaler.crash_loop import CrashPolicy
from control_plane.controller.hold import each_row
from control_plane.controller.live import LiveRows
from control_plane.controller.rollout_plan import Sums, baseline, in_a_row, rollout_seen
from control_plane.controller.rollout_spec import stage, strategy
from control_plane.controller.world import World
from control_plane.rollout.step import Move, Reason, next_step
from control_plane.rollout.strategy import RollbackOn
from control_plane.store import leases
from control_plane.store.clock import read_clock
from control_plane.store.repositories import decisions, replica_costs, replicas, rollouts
from control_plane.store.session import Database
from control_plane.store.tables import Deployment, Replica, Rollout
from infra import outcomes
from infra.connection import RedisClient
from infra.states import DeploymentState, RolloutState
from infra.telemetry import logger

log = logger(__name__)


class RolloutReconciler:
    """A step is written with the deployment's row locked and over the step that was seen, so it is
    made once, whoever dies or comes late."""

    name = "rollout"

    def __init__(
        self,
        database: Database,
        live: LiveRows,
        jobs: RedisClient,
        crash: CrashPolicy,
    ) -> None:
        self._database = database
        self._live = live
        self._jobs = jobs
        self._crash = crash

    async def run(self, _world: World | None, /) -> int:
        async with self._database.snapshot() as session:
            ids = sorted(await rollouts.all_open(session))
        return await each_row(ids, self._reconcile)

    async def _reconcile(self, deployment_id: str) -> int:
        async with self._database.snapshot() as session:
            rows = await self._load(session, deployment_id)
        if rows is None:
            return 0
        sums = None if rows.is_over else await self._sums(rows)
        if not self._wants(rows, sums):
            return 0
        async with self._database.transaction() as session:
            if not await leases.lock_free(session, Deployment, deployment_id):
                return 0
            # Decided again on what the rows say now that they are ours.
            again = await self._load(session, deployment_id)
            if again is None or again.rollout.id != rows.rollout.id:
                return 0
            changed = await self._write(session, again, sums)
        self._live.touched.deployments.add(deployment_id)
        return changed

    async def _load(self, session: AsyncSession, deployment_id: str) -> _Rows | None:
        rollout = await rollouts.open_of(session, deployment_id)
        if rollout is None:
            return None
        deployment = await session.get_one(Deployment, deployment_id)
        failed = await replicas.ended_unready(session, [deployment_id], self._crash.limit)
        own = failed.get(deployment_id, ())
        usd = await replica_costs.usd_by_deployment(session, (each.id for each in own))
        return _Rows(
            now=await read_clock(session),
            rollout=rollout,
            deployment=deployment,
            live=await replicas.live_of(session, deployment_id),
            failed=own,
            failed_usd=usd.get(deployment_id, 0.0),
        )

    async def _sums(self, rows: _Rows) -> Sums | None:
        """None where nobody counts, or nothing is judged."""
        if strategy(rows.deployment.spec).rollback_on is RollbackOn.NONE and not _by_count(rows):
            return None
        row = rows.rollout
        try:
            return await outcomes.read(self._jobs, (row.from_revision_id, row.to_revision_id))
        except RedisError as error:
            log.warning("outcomes cannot be read", error=str(error))
            return None

    def _move(self, rows: _Rows, sums: Sums | None) -> Move | None:
        failures = in_a_row(rows.failed, rows.failed_usd)
        row, now = rows.rollout, rows.now
        seen = rollout_seen(row, rows.deployment, rows.live, failures, sums, now, self._crash)
        return next_step(strategy(rows.deployment.spec), stage(row), seen)

    def _wants(self, rows: _Rows, sums: Sums | None) -> bool:
        first_counts = sums is not None and not rows.rollout.baseline
        return rows.is_over or first_counts or self._move(rows, sums) is not None

    async def _write(self, session: AsyncSession, rows: _Rows, sums: Sums | None) -> int:
        row, deployment = rows.rollout, rows.deployment
        if rows.is_over:
            said = "the deployment is being deleted"
            return await rollouts.move(session, row, RolloutState.SUPERSEDED, said)
        move = self._move(rows, sums)
        if move is None:
            counted = baseline(row, sums, RolloutState(row.state))
            return await rollouts.move(session, row, RolloutState(row.state), row.reason, **counted)
        to = move.stage.state
        if to is RolloutState.ROLLED_BACK:
            percent = await rollouts.traffic_of(session, row, deployment.spec)
            written = await rollouts.go_back(
                session,
                deployment,
                row,
                to,
                move.reason.value,
                move.formula,
                move.inputs,
                0 if move.reason is Reason.ERRORS else percent,
            )
        else:
            written = await self._advance(session, rows, move, sums)
        if written and move.reason is not Reason.LOOKED:
            log.info("rollout", deployment=deployment.name, state=to.value, why=move.formula)
        return written

    async def _advance(
        self, session: AsyncSession, rows: _Rows, move: Move, sums: Sums | None
    ) -> bool:
        to, row = move.stage, rows.rollout
        values = {"step": to.step, "percent": to.percent, "looks": to.looks}
        counted = baseline(row, sums, to.state)
        written = {**values, **counted, "watched_s": to.watched_s}
        if not await rollouts.move(session, row, to.state, move.formula, **written):
            return False
        if move.reason is not Reason.LOOKED:
            outcome = {"state": to.state.value, "revision": row.to_revision_id, **values}
            kind, code = decisions.ROLLOUT, move.reason.value
            deployment_id = rows.deployment.id
            await decisions.add(
                session, deployment_id, kind, code, move.formula, move.inputs, outcome
            )
        return True


@dataclass(frozen=True, slots=True)
class _Rows:
    now: float
    """Database time."""
    rollout: Rollout
    deployment: Deployment
    live: Sequence[Replica]
    failed: Sequence[Replica]
    """Of the new revision, as `replicas.ended_unready` counts them."""
    failed_usd: float

    @property
    def is_over(self) -> bool:
        return (
            self.deployment.state in (DeploymentState.DELETING, DeploymentState.DELETED)
            or self.rollout.to_revision_id != self.deployment.revision_id
        )


def _by_count(rows: _Rows) -> bool:
    return strategy(rows.deployment.spec).step_requests is not None
