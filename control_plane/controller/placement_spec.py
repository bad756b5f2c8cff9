"""Reads the placement part of a stored spec."""

from __future__ import annotations

from typing import Any

from control_plane.placement.policy import PlacementPolicy


def placement_policy(spec: dict[str, Any]) -> PlacementPolicy:
    said = spec.get("placement", {})
    limit = said.get("max_usd_per_hour")
    return PlacementPolicy(
        accelerators=tuple(said.get("accelerators", ())),
        regions=tuple(said.get("regions", ())),
        zones=tuple(said.get("zones", ())),
        instance_types=tuple(said.get("instance_types", ())),
        spot=said.get("spot", "prefer"),
        max_usd_per_hour=float("inf") if limit is None else float(limit),
    )
