"""Why an instance was launched, given up or ended, as decisions of the deployments on it."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.controller.instance_step import InstanceStep
from control_plane.store.repositories import decisions, replicas
from control_plane.store.tables import Instance


async def explain_step(
    session: AsyncSession, instance: Instance, step: InstanceStep, now: float
) -> None:
    """Store a step that was decided; what merely happened (a boot, a join) is in the ledger.

    Args:
        now: database time.
    """
    if step.cause is None:
        return
    inputs: dict[str, Any] = {
        "instance": instance.id,
        "machine": instance.cloud_id,
        "type": instance.instance_type,
        "zone": instance.zone,
        "market": instance.market,
        "state": instance.state,
        "in_it_s": round(now - instance.updated_at, 1),
        **step.inputs,
    }
    outcome: dict[str, Any] = {"state": step.to.value}
    if step.reason:
        outcome["because"] = step.reason
    for deployment_id in await replicas.deployments_on(session, instance.id):
        await decisions.add(
            session,
            deployment_id,
            decisions.PROVISION,
            step.cause.value,
            step.formula,
            inputs,
            outcome,
        )
