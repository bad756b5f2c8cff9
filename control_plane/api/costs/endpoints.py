from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from control_plane.api.costs import service
from control_plane.api.costs.schemas import By, Costs
from control_plane.api.deployments.spec import Name
from control_plane.api.transaction import Reading

router = APIRouter(prefix="/costs", tags=["costs"])
_WEEK_S = 7 * 86_400.0
_QUARTER_S = 93 * 86_400.0


@router.get("")
async def get_costs(
    session: Reading,
    by: By = By.DEPLOYMENT,
    since_s: Annotated[float, Query(ge=0, le=_QUARTER_S, allow_inf_nan=False)] = _WEEK_S,
    deployment: Annotated[
        Name | None, Query(description="Of all that have, or had, this name.")
    ] = None,
) -> Costs:
    """What was spent in the last `since_s` seconds, from the beginning of that hour; as it was
    written down last, about a minute ago."""
    return await service.costs(session, by, since_s, deployment)
