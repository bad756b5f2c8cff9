"""Writes what a deployment's plan says: the decision, its replicas, and what stays warm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.controller.deployment_plan import DeploymentPlan
from control_plane.controller.way_back import Tries
from control_plane.store.repositories import decisions, instances, replicas, rollouts, starts
from control_plane.store.tables import Deployment, Instance, Replica
from infra.states import ReplicaState
from infra.wire import ReplicaReport


async def explain(
    session: AsyncSession,
    deployment: Deployment,
    wanted: DeploymentPlan,
    reports: Mapping[str, ReplicaReport],
) -> None:
    """Store why, and what it costs that something stays."""
    decision = wanted.decision
    outcome: dict[str, Any] = {
        "target_replicas": decision.target,
        "add": wanted.add,
        "finish": list(wanted.finish),
        "drain": len(wanted.drain),
    }
    if wanted.wake:
        outcome["wake"] = len(wanted.wake)
    for replica in wanted.sleep:
        outcome |= {"sleep": replica.id, **await _cost(session, replica.instance_id or "")}
        report = reports.get(replica.id)
        # What it frees is not known before it sleeps: at most this stays.
        outcome["keeps_memory_bytes_at_most"] = report.memory_bytes if report is not None else None
    if wanted.keep:
        outcome |= {"keep": wanted.keep, **await _cost(session, wanted.keep)}
    await decisions.add(
        session,
        deployment.id,
        decisions.SCALE,
        decision.reason.value,
        decision.formula,
        decision.inputs,
        outcome,
    )


async def hand_back(session: AsyncSession, deployment: Deployment, tries: Tries, why: str) -> None:
    """End what is left of these rollouts, and store why."""
    left = sorted(tries)
    await rollouts.hand_back(session, [each.id for each in tries.values()])
    inputs = {"percent": {id: tries[id].percent for id in left}}
    outcome = {"revision": deployment.revision_id, "left": left}
    await decisions.add(
        session, deployment.id, decisions.ROLLOUT, "handed_back", why, inputs, outcome
    )


async def carry_out(
    session: AsyncSession, deployment: Deployment, wanted: DeploymentPlan, waited_s: float
) -> None:
    """Change replicas and instances as planned.

    Args:
        waited_s: how long the oldest request has waited for this.
    """
    for revision_id in (*(deployment.revision_id for _ in range(wanted.add)), *wanted.finish):
        added = await replicas.add(session, deployment, revision_id)
        await starts.begin(session, added, 0, waited_s)
    for each in wanted.drain:
        await _move(session, each, ReplicaState.DRAINING, wanted)
    for each in wanted.sleep:
        await _move(session, each, ReplicaState.SLEEPING, wanted)
    for each in wanted.wake:
        wakes = each.wakes + 1
        if await _move(session, each, ReplicaState.LOADING, wanted, wakes=wakes):
            await starts.begin(session, each, wakes, waited_s)
    if wanted.keep:
        await instances.keep(session, wanted.keep, deployment.id)
    for instance in wanted.release:
        await instances.keep(session, instance.id, None)


async def _move(
    session: AsyncSession,
    replica: Replica,
    to: ReplicaState,
    wanted: DeploymentPlan,
    **values: Any,
) -> bool:
    decision = wanted.decision
    reason = f"scaled to {decision.target}: {decision.reason.value}"
    seen = ReplicaState(replica.state)
    moved = await replicas.move(session, replica.id, seen, to, reason, **values)
    if moved and replica.instance_id is not None:
        await instances.change_assignment(session, replica.instance_id)
    return moved


async def _cost(session: AsyncSession, instance_id: str) -> dict[str, Any]:
    """Of an instance that stays; where it has no price it costs its memory."""
    instance = await session.get(Instance, instance_id)
    price = instance.usd_per_hour if instance is not None else 0.0
    return {"on": instance_id, "usd_per_hour": price}
