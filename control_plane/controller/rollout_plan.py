"""From rows to what a rollout is, for its deployment's plan and for its own next step (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from control_plane.autoscaler.crash_loop import CrashPolicy, Failures, given_up
from control_plane.controller.rollout_spec import stage, strategy
from control_plane.rollout.counts import Counts
from control_plane.rollout.stage import Stage
from control_plane.rollout.step import RolloutSeen
from control_plane.rollout.strategy import Kind, Strategy
from control_plane.rollout.verdict import FIRST_LOOK
from control_plane.store.tables import Deployment, Replica, Rollout
from infra.states import ReplicaState, RolloutState

Sums = Mapping[str, Mapping[str, int]]
"""Revision id -> what its requests came to."""


@dataclass(frozen=True, slots=True)
class RolloutPart:
    """What the plan of a deployment needs to know of its rollout."""

    revision_id: str
    """The one that is left."""
    strategy: Strategy
    stage: Stage
    failures: Failures
    """Starts of that revision that failed."""

    @property
    def said(self) -> str:
        """E.g. "canary, step 2 of 3 (25 % of the traffic), watching"."""
        name, at = self.strategy.kind.value.replace("_", "-"), self.stage
        if self.strategy.kind is Kind.CANARY:
            step = min(at.step + 1, len(self.strategy.steps))
            name += f", step {step} of {len(self.strategy.steps)}"
        if self.strategy.kind is not Kind.REPLACE:
            name += f" ({at.percent} % of the traffic)"
        return f"{name}, {at.state.value}"


def rollout_part(row: Rollout, spec: dict[str, Any], failures: Failures) -> RolloutPart:
    return RolloutPart(row.from_revision_id, strategy(spec), stage(row), failures)


def in_a_row(failed: Sequence[Replica], usd: float = 0.0) -> Failures:
    """Of replicas that ended before they were ready, the newest first, and what they cost."""
    if not failed:
        return Failures()
    return Failures(len(failed), failed[0].ended_at or 0.0, failed[0].reason, usd)


def rollout_seen(
    row: Rollout,
    deployment: Deployment,
    live: Sequence[Replica],
    failures: Failures,
    sums: Sums | None,
    now: float,
    crash: CrashPolicy,
) -> RolloutSeen:
    stable, candidate = _counts(row, sums)
    waiting = _waiting(row, live)
    return RolloutSeen(
        stage_s=now - row.state_at,
        target=deployment.target_replicas,
        ready=sum(
            each.state == ReplicaState.READY and each.revision_id == row.to_revision_id
            for each in live
        ),
        failed_starts=failures.count if given_up(failures, crash) else 0,
        last_failure=failures.last_reason,
        waiting_s=now - waiting.created_at if waiting is not None else 0.0,
        waits_for=waiting.reason if waiting is not None else "",
        stable=stable,
        candidate=candidate,
    )


def _waiting(row: Rollout, live: Sequence[Replica]) -> Replica | None:
    """The oldest of the new revision that is still wanted and was never ready."""
    among = (
        each
        for each in live
        if each.revision_id == row.to_revision_id
        and each.ready_at is None
        and each.state != ReplicaState.DRAINING
    )
    return min(among, key=lambda each: each.created_at, default=None)


def _counts(row: Rollout, sums: Sums | None) -> tuple[Counts | None, Counts | None]:
    """Since the traffic of the present step came; the old one's since the rollout began, where it
    had little of that."""
    if sums is None or not row.step_baseline:
        return None, None
    old, new = row.from_revision_id, row.to_revision_id
    stable, base = Counts(**sums[old]), Counts(**row.step_baseline[old])
    since_step = stable.since(base)
    if since_step.requests < FIRST_LOOK:
        since_step = stable.since(Counts(**row.baseline[old]))
    return since_step, Counts(**sums[new]).since(Counts(**row.step_baseline[new]))


def baseline(row: Rollout, sums: Sums | None, to: RolloutState) -> dict[str, Any]:
    """The columns to write with a move to another state: where counting begins again.

    While the replicas of the next step are awaited the traffic of the step before goes on, and so
    does its count.
    """
    if sums is None:
        return {}
    told = {revision_id: dict(each) for revision_id, each in sums.items()}
    if not row.baseline:
        return {"baseline": told, "step_baseline": told}
    # A step that goes on after a sleep goes on counting.
    if to is RolloutState.WATCHING and to != row.state and not row.watched_s:
        return {"step_baseline": told}
    return {}
