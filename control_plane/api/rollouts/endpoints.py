from __future__ import annotations

from fastapi import APIRouter

from control_plane.api.rollouts import service
from control_plane.api.rollouts.schemas import RolloutShown, show_rollout
from control_plane.api.transaction import CurrentChange, Reading

router = APIRouter(prefix="/deployments/{name}/rollout", tags=["deployments"])


@router.get("")
async def get_rollout(name: str, session: Reading) -> RolloutShown:
    """The rollout that is under way, or the last one."""
    return show_rollout(*await service.newest(session, name))


@router.post("/promote")
async def promote_rollout(name: str, change: CurrentChange) -> RolloutShown:
    """Do the rest of it as soon as the replicas are ready, without watching."""
    return show_rollout(*await service.promote(change, name))


@router.post("/abort")
async def abort_rollout(name: str, change: CurrentChange) -> RolloutShown:
    """Go back to the old revision: its replicas first, then its traffic."""
    return show_rollout(*await service.abort(change, name))
