"""How many replicas more a deployment has while the cloud takes many away (pure)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from control_plane.controller.placement_problem import offers_of, pool_of_instance
from control_plane.controller.placement_rows import PlacementRows
from control_plane.store.tables import Deployment
from infra.cloud.base import CloudOffer

_REPLACED_S = 300.0
"""From a loss without notice until its replacement serves."""
REPLACED = f"{_REPLACED_S:.0f} s"


def spares(rows: PlacementRows, told: Sequence[CloudOffer]) -> dict[str, int]:
    """By deployment id: replicas that are expected to be lost while others are replaced, rounded.
    In quiet markets that is none (SkyServe, EuroSys'25, keeps a fixed number instead)."""
    offers = offers_of(rows, told)
    lost: dict[str, float] = {}
    most: dict[str, int] = {}
    for placed in rows.placed:
        per_hour = sum(
            offers[pool].losses_per_hour
            for _, instance in placed.running
            if (pool := pool_of_instance(instance)) in offers
        )
        id = placed.deployment.id
        lost[id] = lost.get(id, 0.0) + per_hour * _REPLACED_S / 3600
        most[id] = _most(placed.deployment)
    return {id: min(math.floor(each + 0.5), most[id]) for id, each in lost.items()}


def _most(deployment: Deployment) -> int:
    """As many again, within the deployment's own limit."""
    limit = int(deployment.spec.get("scaling", {}).get("max_replicas", 1))
    target = deployment.target_replicas
    return max(0, min(target, limit - target))
