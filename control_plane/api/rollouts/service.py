from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.deployments import service
from control_plane.api.problem import Problem, not_found
from control_plane.api.rollouts.schemas import Standing
from control_plane.api.transaction import Change
from control_plane.store.leases import break_lease
from control_plane.store.repositories import deployments, replicas, rollouts
from control_plane.store.tables import Deployment, Rollout
from infra.states import RolloutState


async def newest(session: AsyncSession, name: str) -> tuple[Rollout, Standing]:
    """Raises Problem 404."""
    deployment = (await service.find(session, name)).deployment
    found = await rollouts.newest_of(session, deployment.id)
    if found is None:
        raise Problem(
            404,
            "no-rollout",
            f"deployment '{name}' has had no rollout: one begins when a deployment that has served "
            "gets another model or engine",
        )
    return found, await replicas.standing_of(session, deployment.id)


async def promote(change: Change, name: str) -> tuple[Rollout, Standing]:
    """Do the rest of it without watching; asking twice is asking once.

    Raises Problem: 404, or 409 where none is under way.
    """
    deployment, rollout = await _under_way(change, name)
    if not rollout.promoted:
        await rollouts.promote(change.session, rollout)
        break_lease(deployment)
        await change.record("rollout.promote", deployment.id, name=name, rollout=rollout.id)
    return await _again(change.session, rollout)


async def abort(change: Change, name: str) -> tuple[Rollout, Standing]:
    """Go back to the old revision: its replicas first, then its traffic.

    Raises Problem: 404, or 409 where none is under way.
    """
    deployment, rollout = await _under_way(change, name)
    session = change.session
    percent = await rollouts.traffic_of(session, rollout, deployment.spec)
    said = f"aborted by its owner at {percent} % of the traffic"
    inputs = {"state": rollout.state, "step": rollout.step, "percent": percent}
    to = RolloutState.ABORTED
    await rollouts.go_back(session, deployment, rollout, to, "aborted", said, inputs, percent)
    break_lease(deployment)
    await change.record("rollout.abort", deployment.id, name=name, rollout=rollout.id)
    return await _again(session, rollout)


async def _under_way(change: Change, name: str) -> tuple[Deployment, Rollout]:
    found = await deployments.lock(change.session, name)
    if found is None:
        raise not_found("deployment", name, "tamer status")
    rollout = await rollouts.open_of(change.session, found.deployment.id)
    if rollout is None:
        detail = (
            f"no rollout of '{name}' is under way; 'tamer rollout status {name}' tells the last"
        )
        raise Problem(409, "no-rollout", detail)
    return found.deployment, rollout


async def _again(session: AsyncSession, rollout: Rollout) -> tuple[Rollout, Standing]:
    await session.refresh(rollout)
    return rollout, await replicas.standing_of(session, rollout.deployment_id)
