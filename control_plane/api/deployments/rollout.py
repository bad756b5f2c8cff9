"""What a new specification means for the rollout of its deployment."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api.problem import Problem
from control_plane.store.repositories import rollouts
from control_plane.store.tables import Deployment
from infra.states import DeploymentState, RolloutState

GAVE_UP = (RolloutState.ROLLED_BACK, RolloutState.ABORTED)


async def change_revision(
    session: AsyncSession,
    deployment: Deployment,
    spec: dict[str, Any],
    revision_id: str,
    now: float,
    again: bool,
) -> None:
    """Write the specification and its revision, and begin, end or replace a rollout.

    There is a rollout where there is something to go back to: a revision that has served, and
    still starts. In the middle of one that is the revision that it came from, not the one that it
    was bringing.

    Raises:
        Problem: 409 where this revision was rolled back and `again` is not said.
    """
    left, left_spec = deployment.revision_id, deployment.spec
    deployment.spec, deployment.revision_id = spec, revision_id
    if revision_id == left:
        return
    if not again:
        await _refuse_what_failed(session, deployment, revision_id)
    under_way = await rollouts.open_of(session, deployment.id)
    if under_way is not None:
        percent = await rollouts.traffic_of(session, under_way, left_spec)
        said = f"{revision_id} was deployed"
        await rollouts.move(session, under_way, RolloutState.SUPERSEDED, said, percent=percent)
        left, left_spec = under_way.from_revision_id, under_way.from_spec
    if revision_id == left or deployment.state == DeploymentState.FAILED:
        return
    if await rollouts.has_served(session, deployment.id, left):
        await rollouts.begin(session, deployment, left, left_spec, now)


async def _refuse_what_failed(
    session: AsyncSession, deployment: Deployment, revision_id: str
) -> None:
    last = await rollouts.newest_of(session, deployment.id, revision_id)
    if last is not None and last.state in GAVE_UP:
        detail = (
            f"this revision ({revision_id}) of '{deployment.name}' was taken back: {last.reason}; "
            "change the specification, or try it again with 'tamer deploy --again' (?again=true)"
        )
        raise Problem(409, "rolled-back", detail)
